"""Pictures and numbers of a labelled set: its energies, its fingerprints, its error against PBE.

    python benchmarks/dataset_figures.py FILE -o results

FILE is anything that `jaxrecon.datasets.read_labelled` takes; without one the embedded
Pt10 clusters. Written are, into the folder:

e_form.png      how formation energies are distributed, by kind, with the flagged parts of the set
pca_map.png     the first two principal components of the fingerprints (`fung2022` unless told), of
                300 and 3,000 furthest points and of all, coloured by formation energy: the figures
                S1 to S7 of the paper
parity.png      formation energies against those of PBE where both are known (column e_form_pbe): as
                the potential says them (column e_form_potential), if they were corrected by PBE
figures.json    the numbers: counts, quantiles, variances, errors and biases by range of energy
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from jaxrecon import Fingerprint, featurize, use_all_cores
from jaxrecon.datasets import LabelledSet, load, read_labelled
from jaxrecon.datasets.sampling import furthest_points
from jaxrecon.plotting.canvas import save
from jaxrecon.plotting.energies import (
    EnergyHistogram,
    Parity,
    agreement,
    energy_histogram,
    parity,
)
from jaxrecon.plotting.maps import PrincipalMaps, principal_components, principal_maps
from jaxrecon.runtime.devices import enable_compilation_cache
from jaxrecon.runtime.files import write_json
from jaxrecon.structures.formulas import elements_of

PBE, POTENTIAL = "e_form_pbe", "e_form_potential"
"""Columns with the references, and with energies that are not made to agree with them."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

WIDTH = 0.4
"""Of the ranges of energy in which errors are averaged, in eV/atom."""


def draw(labelled: LabelledSet, output: Path, *, preset: str, sizes: list[int]) -> dict[str, Any]:
    """Write the pictures that the set has data for; return the numbers."""
    energies = labelled.formation_energies
    known = energies[np.isfinite(energies)]
    numbers: dict[str, Any] = {"structures": len(labelled), "metadata": labelled.metadata}
    if len(known):
        quantiles = np.quantile(known, QUANTILES).tolist()
        numbers["e_form_quantiles"] = dict(zip(map(str, QUANTILES), quantiles, strict=True))
        kinds = np.array(labelled.kinds)
        flags = {
            name: energies[values]
            for name, values in labelled.columns.items()
            if values.dtype.kind == "b"
        }
        groups = {str(kind): energies[kinds == kind] for kind in np.unique(kinds)}
        numbers["kinds"] = {kind: len(values) for kind, values in groups.items()}
        save(energy_histogram(EnergyHistogram(groups, flags)), output / "e_form.png")
    numbers |= maps(labelled, output, preset, sizes)
    if np.isfinite(labelled.columns.get(PBE, np.empty(0)) * len(known)).any():
        numbers["against_pbe"] = against_pbe(labelled, output)
    return numbers


def maps(labelled: LabelledSet, output: Path, preset: str, sizes: list[int]) -> dict[str, Any]:
    values = labelled.fingerprints
    if values is None and labelled.structures is not None:
        elements = elements_of(labelled.structures)
        values = featurize(labelled.structures, Fingerprint.preset(preset, elements))
    assert values is not None
    smaller = [size for size in sorted(sizes) if size < len(values)]
    # The furthest points of fewer are the first of those of more.
    order = furthest_points(values, smaller[-1]) if smaller else np.empty(0, np.int64)
    subsets = {f"{size:,} furthest points": order[:size] for size in smaller}
    subsets[f"all {len(values):,}"] = np.arange(len(values))
    figure = principal_maps(PrincipalMaps(values, labelled.formation_energies, subsets))
    save(figure, output / "pca_map.png")
    return {"variance_of_components": principal_components(values)[1].tolist()}


def against_pbe(labelled: LabelledSet, output: Path) -> list[dict[str, Any]]:
    references = labelled.columns[PBE]
    judged = labelled.columns.get(POTENTIAL, labelled.formation_energies)
    both = np.isfinite(references) & np.isfinite(judged)
    kinds = np.array(labelled.kinds)
    groups = {
        str(kind): (judged[both & (kinds == kind)], references[both & (kinds == kind)])
        for kind in np.unique(kinds[both])
    }
    figure = parity(Parity(groups, xlabel="PBE (eV/atom)", ylabel="potential (eV/atom)"))
    save(figure, output / "parity.png")
    low, high = WIDTH * np.floor(references[both].min() / WIDTH), references[both].max()
    found = agreement(judged, references, np.arange(low, high + WIDTH, WIDTH))
    print("  eV/atom (PBE)   structures    MAE    bias")
    for each in found:
        ends = f"{each.low:.2f}-{each.high:.2f}"
        print(f"  {ends:<14}  {each.structures:>10}  {each.error:.3f}  {each.bias:+.3f}")
    return [each._asdict() for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?", help="a labelled set; else the embedded one")
    parser.add_argument("-o", "--output", type=Path, default=Path("results"))
    parser.add_argument("--preset", default="fung2022", help="of the fingerprints that are mapped")
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 3000], help="of the subsets")
    arguments = parser.parse_args()
    use_all_cores()
    enable_compilation_cache()
    arguments.output.mkdir(parents=True, exist_ok=True)
    labelled = load() if arguments.file is None else read_labelled(arguments.file)
    numbers = draw(labelled, arguments.output, preset=arguments.preset, sizes=arguments.sizes)
    write_json(arguments.output / "figures.json", numbers)
    print(f"{len(labelled)} structures; pictures and numbers in {arguments.output}")


if __name__ == "__main__":
    main()

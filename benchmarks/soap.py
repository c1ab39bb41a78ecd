"""How accurate and how fast SOAP is, beside DScribe and featomic.

    python benchmarks/soap.py --data DIR -o results

Accuracy: the largest difference from DScribe (averages over all atoms, outer with Gaussian-type
orbitals and polynomials, inner with orbitals) and from featomic (rows of all atoms), relative to
the largest number, over the files `qm7_500.extxyz` and `mp_200.extxyz` in DIR, in float64 and
float32. The elements of each structure take the names of the first elements, in their order, so
that few programs serve all structures.

Speed: central atoms a second, neighbour search included, on all cores. Derivatives are those of all
numbers of all rows by the positions of all neighbours. All programs get the structures of as many
elements together. DScribe has no analytic derivatives of
periodic structures; its numerical ones are measured on one molecule. Each figure is the best of
several blocked calls after a warm-up, all programs in turns. Then: how the time grows from 64 to
4,096 atoms, the time to compile, and the peak memory of this process.

Bars: values at least as fast as the faster of the two; derivatives at twice the speed of featomic
(moonshot 3 and 5 times).

Output: soap.json.
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import dscribe.descriptors
import featomic
import jax
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import chemical_symbols
from jax.sharding import Mesh, PartitionSpec

from jaxrecon import Fingerprint, Structure, batch, featurize, use_all_cores
from jaxrecon.descriptors.featurize import batches
from jaxrecon.descriptors.soap.presets import average_dscribe
from jaxrecon.descriptors.soap.soap import SOAP
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.formulas import elements_of

SMALL = {"n_max": 4, "l_max": 3, "sigma": 0.5}
R_CUT = 5.0
WIDTH = 0.5


def renamed(atoms: Atoms) -> Atoms:
    """The structure with the first elements in place of its own, in their order."""
    kinds = elements_of([atoms])
    other = atoms.copy()
    other.symbols = [chemical_symbols[1 + kinds.index(symbol)] for symbol in atoms.symbols]
    return other


def by_elements(structures: Sequence[Atoms]) -> list[list[Atoms]]:
    """Renamed structures, those of as many elements together."""
    groups: dict[tuple[int, bool], list[Atoms]] = {}
    for atoms in map(renamed, structures):
        groups.setdefault((len(elements_of([atoms])), bool(atoms.pbc.any())), []).append(atoms)
    return list(groups.values())


def featomic_of(n_max: int, l_max: int, r_cut: float, sigma: float) -> Any:
    """Featomic's power spectrum with these settings."""
    return featomic.SoapPowerSpectrum(
        cutoff={"radius": r_cut, "smoothing": {"type": "ShiftedCosine", "width": WIDTH}},
        density={"type": "Gaussian", "width": sigma},
        basis={
            "type": "TensorProduct",
            "max_angular": l_max,
            "radial": {"type": "Gto", "max_radial": n_max - 1},
            "spline_accuracy": 1e-11,
        },
    )


def soap_of(elements: Sequence[str], n_max: int, l_max: int, r_cut: float, sigma: float) -> SOAP:
    """The same settings here."""
    return SOAP(
        tuple(elements),
        r_cut,
        n_max,
        l_max,
        sigma,
        basis="featomic",
        convention="featomic",
        cutoff_width=WIDTH,
    )


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference in units of the largest number."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def against_dscribe(
    structures: Sequence[Atoms], basis: str = "gto", average: str = "outer"
) -> dict[str, float]:
    """The largest differences of averages by data type."""
    worst: dict[str, float] = {"float64": 0.0, "float32": 0.0}
    for group in by_elements(structures):
        species = elements_of(group)
        periodic = bool(group[0].pbc.any())
        peer = dscribe.descriptors.SOAP(
            r_cut=R_CUT, species=species, periodic=periodic, rbf=basis, average=average, **SMALL
        )
        expected = np.atleast_2d(peer.create(group))
        described = average_dscribe(species, R_CUT, basis=basis, average=average, **SMALL)
        ours = Fingerprint(described, ("mean",))
        for name in worst:
            found = featurize(group, ours, dtype=np.dtype(name))
            worst[name] = max(worst[name], relative(found, expected))
    return worst


def against_featomic(structures: Sequence[Atoms]) -> float:
    """The largest difference of rows in float64."""
    peer, worst = featomic_of(4, 3, R_CUT, 0.5), 0.0
    for group in by_elements(structures):
        expected = peer.compute(group)
        ours = soap_of(elements_of(group), 4, 3, R_CUT, 0.5)
        fingerprint = Fingerprint(ours, ("none",), max_atoms=max(map(len, group)))
        found = featurize(group, fingerprint, dtype=np.float64)
        rows = found.reshape(len(group), -1, ours.size)
        for key, block in expected.items():
            _, first, second = (chemical_symbols[number] for number in key.values)
            pairs = f"p[{first},{second}]", f"p[{second},{first}]"
            columns = [i for i, name in enumerate(ours.names) if name.startswith(pairs)]
            sample = np.asarray(block.samples.values)
            mine = rows[sample[:, 0], sample[:, 1]][:, columns]
            worst = max(worst, relative(mine, np.asarray(block.values)))
    return worst


def best(call: Callable[[], object], times: int = 5) -> tuple[float, float]:
    """Seconds of the first call, and of the best of some later ones."""
    seconds = []
    for _ in range(times + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return seconds[0], min(seconds[1:])


def programs(
    structures: Sequence[Atoms], ours: SOAP, dtype: str
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Calls that compute all rows of the structures, without and with their derivatives."""
    fingerprint = Fingerprint(ours)
    devices = jax.local_devices()
    mesh, split = Mesh(np.asarray(devices), ("structures",)), PartitionSpec("structures")

    def cast(leaf: Any) -> Any:
        return leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf

    # Fill each batch up so that all devices get as many structures.
    with jax.enable_x64(dtype == "float64"):
        several = []
        for members, _ in batches(structures, fingerprint):
            filled = [structures[i] for i in members] + [structures[members[0]]] * (
                -len(members) % len(devices)
            )
            several.append(jax.tree.map(cast, batch(filled, fingerprint)))

    def rows(structure: Structure) -> jax.Array:
        view = fingerprint.view(structure)
        return ours(view.neighbors, view.elements)

    def derivatives(structure: Structure) -> tuple[jax.Array, jax.Array]:
        view = fingerprint.view(structure)
        # With more images than atoms, sum over the images of an atom, as featomic does.
        if view.neighbors.mask.shape[1] > len(structure.species):
            values, by_positions = ours.with_derivatives(view.neighbors, view.elements)
            return values, by_positions.entries()
        return ours.with_jacobian(view.neighbors, view.elements)

    def mapped(one: Callable[[Structure], object], at_once: int) -> Callable[[], object]:
        def on_device(part: Structure) -> object:
            return jax.lax.map(one, part, batch_size=at_once)

        program = jax.jit(
            jax.shard_map(on_device, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
        )

        def run() -> object:
            with jax.enable_x64(dtype == "float64"):
                return [program(part) for part in several]

        return run

    return mapped(rows, 16), mapped(derivatives, 1)


def speeds(name: str, structures: list[Atoms], settings: tuple[int, int, float, float]) -> dict:
    """Central atoms a second of all programs, which get structures of as many elements together."""
    atoms, n_max, l_max, r_cut, sigma = sum(map(len, structures)), *settings
    seconds: dict[str, float] = {}

    def add(key: str, value: float) -> None:
        seconds[key] = seconds.get(key, 0.0) + value

    for group in by_elements(structures):
        elements = elements_of(group)
        ours, peer = soap_of(elements, *settings), featomic_of(*settings)
        other = dscribe.descriptors.SOAP(
            r_cut=r_cut,
            n_max=n_max,
            l_max=l_max,
            sigma=sigma,
            species=elements,
            periodic=bool(group[0].pbc.any()),
        )
        for dtype in ("float32", "float64"):
            for key, call in zip(
                ("values", "derivatives"), programs(group, ours, dtype), strict=True
            ):
                first, later = best(call, 3)
                add(f"{key}, {dtype}", later)
                add(f"compile {key}, {dtype}", first - later)
        add("featomic values", best(partial(peer.compute, group))[1])
        add(
            "featomic derivatives",
            best(partial(peer.compute, group, gradients=["positions"]), 3)[1],
        )
        # Processes cost it more than they gain where there is little to do.
        jobs = range(1, 1 + len(jax.local_devices()))
        add("dscribe values", min(best(partial(other.create, group, n_jobs=n), 3)[1] for n in jobs))
    found = {
        key: value if key.startswith("compile") else atoms / value for key, value in seconds.items()
    }
    print(f"\n{name}: {atoms} central atoms of {len(structures)} structures, {settings}")
    for key, value in found.items():
        print(f"  {key:32} {value:12,.1f} {'s' if key.startswith('compile') else '/s'}")
    return found


def numerical(molecule: Atoms) -> float:
    """DScribe's numerical derivatives of one molecule, central atoms a second."""
    peer = dscribe.descriptors.SOAP(
        r_cut=R_CUT, species=elements_of([molecule]), periodic=False, **SMALL
    )
    call = partial(peer.derivatives, molecule, method="numerical")
    return len(molecule) / best(call, 1)[1]


def growth(seconds: float) -> dict[str, float]:
    """Seconds for diamond of some numbers of atoms, up to one that takes too long."""
    found = {}
    for repeat in (2, 3, 4, 5, 6, 8):
        crystal = bulk("C", cubic=True) * (repeat, repeat, repeat)
        rows, _ = programs([crystal], soap_of(["C"], 12, 6, 3.7, 0.5), "float32")
        found[str(len(crystal))] = best(rows, 2)[1]
        if found[str(len(crystal))] > seconds:
            break
    sizes, times = np.asarray([*map(float, found)]), np.asarray([*found.values()])
    exponent = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
    print("\ndiamond, seconds by atoms: " + ", ".join(f"{k}: {v:.3f}" for k, v in found.items()))
    print(f"cost exponent {exponent:.2f}")
    return {**found, "exponent": exponent}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    parser.add_argument("--only", choices=("accuracy", "speed"), default=None)
    arguments = parser.parse_args()
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    molecules = ase.io.read(arguments.data / "qm7_500.extxyz", ":")
    for atoms in molecules:
        atoms.pbc, atoms.cell = False, None
    crystals = ase.io.read(arguments.data / "mp_200.extxyz", ":")
    report: dict[str, Any] = {"versions": versions()}
    if arguments.only != "speed":
        report["accuracy"] = {
            f"{peer}, {name}": measure(structures)
            for name, structures in (("qm7_500", molecules), ("mp_200", crystals))
            for peer, measure in (
                ("DScribe, gto", against_dscribe),
                ("DScribe, inner", partial(against_dscribe, average="inner")),
                ("DScribe, polynomial", partial(against_dscribe, basis="polynomial")),
                ("featomic", against_featomic),
            )
        }
        for name, value in report["accuracy"].items():
            print(f"{name:30} {value}")
    if arguments.only != "accuracy":
        perovskites = ase.io.read(arguments.data / "perov5_200.extxyz", ":20")
        carbon = bulk("C", cubic=True) * (2, 2, 2)
        large = bulk("C", cubic=True) * (5, 5, 5)
        for atoms in (carbon, large):
            atoms.rattle(0.1, seed=1)
        report["speed"] = {
            "QM7": speeds("QM7", molecules[:100], (8, 6, 5.0, 0.5)),
            "perovskites": speeds("perovskites", perovskites, (8, 6, 5.0, 0.5)),
            "64 carbon atoms": speeds("64 carbon atoms", [carbon] * 4, (12, 6, 3.7, 0.5)),
            "1,000 atoms": speeds("1,000 atoms", [large], (12, 6, 3.7, 0.5)),
            "DScribe, numerical derivatives": numerical(molecules[0]),
        }
        report["growth"] = growth(60.0)
    report["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {report['peak memory, MB']:,.0f} MB")
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output / "soap.json", report)


if __name__ == "__main__":
    main()

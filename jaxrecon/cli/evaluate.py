"""`jaxrecon evaluate`: the tables and figures of the publication, of one's own models."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxrecon.cli import options
from jaxrecon.cli.options import Force, Seed, warned
from jaxrecon.cli.verbs import Report

EXAMPLES = """\b
Examples:
  jaxrecon evaluate table1 model
  jaxrecon judge made.extxyz --calculator gpaw -o judged.extxyz
  jaxrecon evaluate table2 judged.extxyz"""


class What(StrEnum):
    """What `evaluate` makes."""

    TABLE1 = "table1"
    TABLE2 = "table2"
    FIGURE6 = "figure6"
    FIGURE7 = "figure7"
    FIGURE8 = "figure8"
    FIGURE9 = "figure9"


def evaluate(
    what: Annotated[
        What,
        typer.Argument(
            help="table1: what surrogates think of generated fingerprints, of all that are drawn "
            "and of those that generate takes; table2: what a judge says of structures; figure6 "
            "and figure7: the same as distributions; figure8: predicted against judged; figure9: "
            "maps of fingerprints."
        ),
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Models for table1 and figure6; files of judged structures for table2, figure7 "
            "and figure8; a model and such files for figure9.",
        ),
    ],
    output: Annotated[
        Path | None,
        options.output(
            "OUT.json|OUT.png",
            "File to write: needed for figures.",
        ),
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(
            metavar="E",
            help="Energy for table1 and figure6, eV/atom; may be there several times.  [default: "
            "the published seven]",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Fingerprints a target.")] = 1000,
    seed: Seed = 0,
    force: Force = False,
) -> Report:
    """Make the tables and figures of the publication, of your own models and structures.

    Tables are printed. Several files are several seeds: the spread over them is printed as well.
    """
    from jaxrecon.models.design_model import DesignModel
    from jaxrecon.runtime.files import check_output, replacing, write_json
    from jaxrecon.structures.io import read_structures

    figure = what.startswith("figure")
    if figure and output is None:
        raise ValueError(f"expected --output with a picture like {what}.png, got none")
    if output is not None:
        check_output(output, force, suffix=None if figure else ".json")
    from jaxrecon.inverse_design import evaluation

    targets = target or evaluation.TARGETS
    folders = [path for path in inputs if path.is_dir()]
    models = {str(path): DesignModel.load(path) for path in folders}
    files = {str(path): read_structures(path) for path in inputs if path not in folders}
    structures = [atoms for frames in files.values() for atoms in frames]
    needed = {
        What.TABLE1: (bool(models) and not files, "models alone"),
        What.FIGURE6: (bool(models) and not files, "models alone"),
        What.FIGURE9: (len(models) == 1 and bool(files), "a model and files of structures"),
    }
    fits, expected = needed.get(what, (bool(files) and not models, "files of structures alone"))
    if not fits:
        raise ValueError(f"expected {expected} for {what}, got {' '.join(map(str, inputs))}")
    options.start_jax()
    if not figure:
        with warned():
            if what is What.TABLE1:
                tables = {
                    name: evaluation.table1(model, targets, samples=samples, seed=seed)
                    for name, model in models.items()
                }
            else:
                tables = {name: evaluation.table2(frames) for name, frames in files.items()}
        text = [f"{name}:\n{evaluation.text(rows)}" for name, rows in tables.items()]
        told: dict[str, Any] = {"tables": tables}
        if len(tables) > 1:
            spread = evaluation.over_seeds(list(tables.values()))
            text.append(f"all {len(tables)}:\n{evaluation.text(spread)}")
            told["over_all"] = spread
        if output is not None:
            write_json(output, tables)
        return Report("\n".join(text), told, [] if output is None else [output])
    assert output is not None
    from jaxrecon.plotting import published
    from jaxrecon.plotting.canvas import save
    from jaxrecon.plotting.data import parity, principal_maps
    from jaxrecon.plotting.design import target_histograms

    with replacing(output) as draft, warned():
        if what is What.FIGURE6:
            energies = published.generated_energies(
                models, targets=targets, samples=samples, seed=seed
            )
            drawn = target_histograms(energies)
        elif what is What.FIGURE7:
            drawn = target_histograms(published.judged_energies(structures))
        elif what is What.FIGURE8:
            drawn = parity(published.predicted_against_judged(structures))
        else:
            (model,) = models.values()
            drawn = principal_maps(published.training_and_made(model, structures))
        save(drawn, draft)
    return Report(f"{output}: {what.value} of {len(inputs)} inputs", {}, [output])

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
    from jaxrecon.plotting import design

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
    with replacing(output) as draft, warned():
        if what is What.FIGURE6:
            design.figure6(models, draft, targets=targets, samples=samples, seed=seed)
        elif what is What.FIGURE9:
            design.figure9(next(iter(models.values())), structures, draft)
        else:
            getattr(design, what.value)(structures, draft)
    return Report(f"{output}: {what.value} of {len(inputs)} inputs", {}, [output])

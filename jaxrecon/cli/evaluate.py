"""`jaxrecon evaluate`: the tables and figures of the publication for the user's own models."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxrecon.cli import local, options, rigidity
from jaxrecon.cli.options import Force, Quiet, Resume, Seed
from jaxrecon.cli.verbs import Report

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

    from jaxrecon.models.design_model import DesignModel

EXAMPLES = """\b
Examples:
  jaxrecon evaluate table1 model
  jaxrecon judge made.extxyz --calculator gpaw -o judged.extxyz
  jaxrecon evaluate table2 judged.extxyz
  jaxrecon judge crystals.extxyz --calculator tersoff -o teacher.extxyz
  jaxrecon evaluate learning-curve teacher.extxyz --size 100 --size 1000
  jaxrecon evaluate map teacher.extxyz -o map.png
  jaxrecon evaluate rigidity model made.extxyz -o trusted.extxyz"""


class What(StrEnum):
    """Tables and figures that `evaluate` makes."""

    TABLE1 = "table1"
    TABLE2 = "table2"
    FIGURE6 = "figure6"
    FIGURE7 = "figure7"
    FIGURE8 = "figure8"
    FIGURE9 = "figure9"
    LEARNING_CURVE = local.LEARNING_CURVE
    PRETRAIN = local.PRETRAIN
    MAP = local.MAP
    RIGIDITY = rigidity.RIGIDITY


FROM_MODELS = frozenset({What.TABLE1, What.FIGURE6})
"""Tables and figures of models alone; figure 9 needs structures too, and the others no model."""


def evaluate(
    what: Annotated[
        What,
        typer.Argument(
            help="table1: predicted energies of generated fingerprints, of all that are drawn and "
            "of those that `generate` uses. table2: judged energies of structures. figure6 and "
            "figure7: the same two as histograms. figure8: predicted against judged energies. "
            "figure9: maps of fingerprints. learning-curve: errors of local energies against the "
            "number of atoms learned from. pretrain: errors of total energies after learning from "
            "few labelled structures, of networks that have learned the local energies of INPUT "
            "before, and of others. map: the environments of atoms on a plane, coloured by their "
            "energies, coordination and similarity to crystals, and by cluster (needs umap-learn: "
            'pip install "jaxrecon[umap]"). rigidity: energies '
            "of all atoms and how firmly the training set holds each of them (rigidity, the larger "
            "the firmer), by a model of energies of atoms."
        ),
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Models (folders that `train` wrote) for table1 and figure6; judged structures "
            "for table2, figure7 and figure8: files, folders of files, or - for standard input; "
            "one model and such files for figure9; structures with energies of their atoms, as "
            "`judge` writes with the calculators nequix and tersoff, for learning-curve and "
            "pretrain; structures with or without them for map; one model and files of structures "
            "for rigidity.",
        ),
    ],
    output: Annotated[
        Path | None,
        options.output(
            "OUT.json|OUT.png|OUT.extxyz|OUT.html",
            "File to write: a table as .json; or a figure, for which it is required; for map, a "
            "page too; or, for rigidity, the structures, or a page that shows them coloured by it.",
        ),
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(
            metavar="E",
            help="Energy in eV/atom for table1 and figure6; may be repeated.  [default: the seven "
            "published ones]",
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            min=1, help="Number of fingerprints to draw for each energy of table1 and figure6."
        ),
    ] = 1000,
    labelled: local.Labelled = None,
    sizes: local.Sizes = None,
    kinds: local.Kinds = None,
    preset: local.Preset = "cgap2017",
    energies_key: local.EnergiesKey = None,
    energy_key: local.EnergyKey = None,
    trajectory_key: local.TrajectoryKey = "trajectory",
    points: local.Points = 1000,
    folds: local.Folds = 5,
    seed: Seed = 0,
    force: Force = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> Report:
    """Make the tables and figures of the publications.

    They are made from your own models and structures. Tables are printed. Several inputs count as
    several seeds: their mean and spread are printed too. A learning curve and the worth of
    pre-training are averages over folds.
    """
    if what in (What.LEARNING_CURVE, What.PRETRAIN, What.MAP):
        chosen = local.Comparison(
            labelled or (),
            sizes,
            kinds,
            preset,
            energies_key,
            energy_key,
            trajectory_key,
            points,
            folds,
            seed,
        )
        if what is What.MAP:
            return local.draw_map(inputs, output, chosen, force=force, quiet=quiet)
        return local.compare(what, inputs, output, chosen, force=force, resume=resume, quiet=quiet)
    if what is What.RIGIDITY:
        return rigidity.evaluate(inputs, output, force=force)
    from jaxrecon.inverse_design import evaluation
    from jaxrecon.runtime.files import check_output, replacing, write_json

    is_figure = what.startswith("figure")
    if is_figure and output is None:
        raise ValueError(f"expected --output with a picture like {what}.png, got none")
    if output is not None:
        check_output(output, force, suffix=None if is_figure else ".json")
    targets = target or evaluation.TARGETS
    # Reading a model starts JAX, which can't be given more devices afterwards.
    options.start_jax()
    models, files = _read(what, inputs)
    if output is not None and is_figure:
        from jaxrecon.plotting.canvas import save

        with replacing(output) as draft:
            save(_figure(what, models, files, targets, samples, seed), draft)
        count = f"{len(inputs)} input{'' if len(inputs) == 1 else 's'}"
        return Report(f"{output}: {what.value} of {count}", {}, [output])
    tables = _tables(models, files, targets, samples, seed)
    text = [f"{name}:\n{evaluation.text(rows)}" for name, rows in tables.items()]
    payload: dict[str, Any] = {"tables": tables}
    if len(tables) > 1:
        spread = evaluation.over_seeds(list(tables.values()))
        text.append(f"all {len(tables)}:\n{evaluation.text(spread)}")
        payload["over_all"] = spread
    if output is not None:
        write_json(output, tables)
    return Report("\n".join(text), payload, [] if output is None else [output])


def _read(
    what: What, inputs: Sequence[Path]
) -> tuple[dict[str, "DesignModel"], dict[str, "list[Atoms]"]]:
    """Read models and structures by the names of their inputs, and check that they fit."""
    from jaxrecon.models.folder import ABOUT, load_model
    from jaxrecon.structures.io import read_structures

    # Where models are expected, another folder is refused as one that is none.
    folders = [path for path in inputs if path.is_dir()]
    if what not in FROM_MODELS:
        folders = [path for path in folders if (path / ABOUT).is_file()]
    models = {str(path): load_model(path) for path in folders}
    files = {str(path): read_structures(path) for path in inputs if path not in folders}
    if what in FROM_MODELS:
        fits, expected = bool(models) and not files, "models alone"
    elif what is What.FIGURE9:
        fits, expected = len(models) == 1 and bool(files), "a model and files of structures"
    else:
        fits, expected = bool(files) and not models, "files of structures alone"
    if not fits:
        raise ValueError(f"expected {expected} for {what}, got {' '.join(map(str, inputs))}")
    return models, files


def _tables(
    models: Mapping[str, "DesignModel"],
    files: Mapping[str, "list[Atoms]"],
    targets: Sequence[float],
    samples: int,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Table 1 of models or table 2 of structures, one for each input."""
    from jaxrecon.inverse_design import evaluation

    if models:
        return {
            name: evaluation.table1(model, targets, samples=samples, seed=seed)
            for name, model in models.items()
        }
    return {name: evaluation.table2(frames) for name, frames in files.items()}


def _figure(
    what: What,
    models: Mapping[str, "DesignModel"],
    files: Mapping[str, "list[Atoms]"],
    targets: Sequence[float],
    samples: int,
    seed: int,
) -> "Figure":
    """Draw a figure of the publication."""
    from jaxrecon.plotting import published
    from jaxrecon.plotting.figures import FIGURES

    structures = [atoms for frames in files.values() for atoms in frames]
    if what is What.FIGURE6:
        energies = published.generated_energies(models, targets=targets, samples=samples, seed=seed)
        return FIGURES["target_histograms"](energies)
    if what is What.FIGURE7:
        return FIGURES["target_histograms"](published.judged_energies(structures))
    if what is What.FIGURE8:
        return FIGURES["parity"](published.predicted_against_judged(structures))
    (model,) = models.values()
    return FIGURES["principal_maps"](published.training_and_made(model, structures))

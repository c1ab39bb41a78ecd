"""`jaxrecon train` and `design`: models of energies, and models that are improved in rounds."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxrecon.cli import options
from jaxrecon.cli.generate import (
    DEFAULTS,
    AtLeast,
    AtMost,
    Hops,
    Pull,
    Target,
    Trust,
    settings_of,
)
from jaxrecon.cli.options import (
    Bulk,
    Calculator,
    EnergyKey,
    Force,
    ForcesKey,
    Jobs,
    Quiet,
    Resume,
    Seed,
    SetBulk,
    Sets,
    reporting,
)
from jaxrecon.cli.verbs import Report
from jaxrecon.cli.wanted import wanted_energy

if TYPE_CHECKING:
    from jaxrecon.models.config import TrainConfig

TRAIN_EXAMPLES = """\b
Examples:
  jaxrecon train pt10 -o model
  jaxrecon train relaxations.extxyz -o model --energy-key dft --bulk Pt=-5.83
  jaxrecon train pt10_300.extxyz -o published --learning fung2022
  jaxrecon train pt10_pbe -o model --surrogate local-gpr
  jaxrecon train perovskites.extxyz -o any --learning universal --property heat"""
DESIGN_EXAMPLES = """\b
Example:
  jaxrecon design pt10_pbe --target 1.9 --count 100 --rounds 2 --calculator gpaw -o low"""


class Choice(StrEnum):
    """Which of the structures that are made are judged."""

    FIRST = "first"
    DEVIATION = "deviation"
    RIGIDITY = "rigidity"


Learning = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE.json",
        help="Settings of the models: default, fung2022 (as published), universal (for structures "
        "of several compositions), or a .json file with some settings, the others as in "
        "default; MODEL/model.json lists all of them under `config`.",
    ),
]
Surrogate = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What predicts energies, instead of what the settings name: gaussian-process or "
        "network of the fingerprint; local-gpr or local-network, which give each atom an energy "
        "and say how far it can be trusted.  [default: that of the settings, gaussian-process for "
        "default]",
    ),
]
Symbols = Annotated[
    str | None,
    typer.Option(
        metavar="Pt10", help="Formula of the structures, for a set that has fingerprints alone."
    ),
]


def train(
    labelled: Sets,
    output: Annotated[Path, options.output("MODEL", "Folder of the model to write.")],
    learning: Learning = "default",
    surrogate: Surrogate = None,
    symbols: Symbols = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    bulk: SetBulk = None,
    number: Annotated[
        str | None,
        typer.Option(
            "--property",
            metavar="NAME",
            help="Number of every structure to learn in place of formation energies, such as a "
            "heat of formation in eV/atom or a band gap.  [default: formation energies]",
        ),
    ] = None,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Train models on a labelled set.

    The generator draws fingerprints for an energy, and the surrogate predicts energies. The set
    needs at least 50 structures whose energies differ. A part of it is used for validation, by
    default whole trajectories; the error of the predicted energies there is printed. Checkpoints
    are in MODEL.training until training is done.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.datasets.io import read_labelled
    from jaxrecon.models.folder import check_place, save_model
    from jaxrecon.models.training import WORDS, total_epochs, train

    # Whatever is wrong with the input is reported before JAX starts.
    checkpoints = output.with_name(f"{output.name}.training")
    if not output.resolve().parent.is_dir():
        raise NotADirectoryError(f"expected a directory to write {output} to, got none")
    options.check_new(output, checkpoints, resume=resume, force=force, resumable=checkpoints)
    check_place(output)
    config = _train_config(learning, surrogate, seed)
    references = arguments.parse_bulk_energies(bulk)
    examples = read_labelled(
        labelled, energy_key=energy_key, forces_key=forces_key, bulk=references
    )
    if number is not None:
        examples = examples.with_property(number)
    options.start_jax()
    if force:
        options.remove(checkpoints, "training.json")
    try:
        with reporting(None, total_epochs(config), WORDS, quiet) as progress:
            model = train(examples, config, symbols=symbols, folder=checkpoints, progress=progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"checkpoints are in {checkpoints}") from None
    save_model(model, output)
    options.remove(checkpoints, "training.json")
    validation = model.validation
    low, high = model.range
    unit = " eV/atom" if number is None else ""
    text = (
        f"{output}: trained on {len(model.training)} {model.formula} from {low:.3f} to {high:.3f}"
        f"{unit}; mean absolute error {validation['mae']:.4f}{unit} on "
        f"{validation['examples']} validation examples"
    )
    payload = {"structures": len(model.training), "symbols": model.symbols, "range": [low, high]}
    return Report(text, {**payload, "validation": validation}, [output])


def design(
    labelled: Sets,
    output: Annotated[
        Path,
        options.output(
            "FOLDER",
            "Folder to write: made.extxyz, rounds.json, set.npz with all labelled structures, and "
            "a folder for each round.",
        ),
    ],
    target: Target = None,
    at_least: AtLeast = None,
    at_most: AtMost = None,
    count: Annotated[
        int, typer.Option(min=1, help="Number of structures to make at the end.")
    ] = 100,
    rounds: Annotated[
        int, typer.Option(min=0, help="Number of rounds in which structures are judged.")
    ] = 2,
    labels: Annotated[
        int, typer.Option(min=1, help="Largest number of structures to judge in each round.")
    ] = 20,
    choose: Annotated[
        Choice,
        typer.Option(
            help="Structures to judge: first, all of as many as are made; or, of three times as "
            "many, those with the largest deviation or the smallest rigidity (the least firmly "
            "held by the set), which a model of energies of atoms knows."
        ),
    ] = Choice.FIRST,
    calculator: Calculator = "emt",
    bulk: Bulk = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    jobs: Jobs = None,
    learning: Learning = "default",
    surrogate: Surrogate = None,
    symbols: Symbols = None,
    hops: Hops = DEFAULTS.search.hops,
    pull: Pull = DEFAULTS.pull,
    trust: Trust = DEFAULTS.trust,
    seed: Seed = 0,
    resume: Annotated[bool, options.resumption("--rounds", "--count")] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Make structures with a model improved in rounds.

    Each round trains a model, makes structures with it, judges them with the reference calculator
    and adds them to the set. At the end --count structures are made, which are not judged. Hits,
    yield and the number of judged structures are printed for each round. For a set with total
    energies alone, --bulk has to name its elements.
    """
    import numpy as np

    from jaxrecon.cli import arguments
    from jaxrecon.datasets.io import read_labelled, with_formation_energies, write_labelled
    from jaxrecon.inverse_design import closed_loop
    from jaxrecon.inverse_design.evaluation import text
    from jaxrecon.structures.io import write_structures

    # Whatever is wrong with the input is reported before JAX starts.
    options.check_new(output, resume=resume, force=force)
    wanted = wanted_energy(target, at_least, at_most)
    generate_config = settings_of(False, False, hops, pull, trust)
    references = arguments.parse_bulk_energies(bulk)
    train_config = _train_config(learning, surrogate, seed)
    examples = read_labelled(labelled, energy_key=energy_key, forces_key=forces_key)
    if references and not np.isfinite(examples.formation_energies).all():
        examples = with_formation_energies(examples, references, ", ".join(labelled))
    if force:
        options.remove(output, "run.json")
    options.start_jax()
    total = closed_loop.total(count, rounds, labels, choose.value)
    try:
        with reporting(None, total, closed_loop.WORDS, quiet) as progress:
            result = closed_loop.design(
                examples,
                wanted,
                count,
                output,
                calculator=calculator,
                rounds=rounds,
                labels=labels,
                choose=choose.value,
                symbols=symbols,
                train_config=train_config,
                generate_config=generate_config,
                bulk=references,
                jobs=jobs,
                seed=seed,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"all finished work is in {output}") from None
    made, enlarged = output / "made.extxyz", output / "set.npz"
    write_structures(made, result.structures)
    write_labelled(enlarged, result.labelled)
    return Report(text(result.rounds), {"rounds": result.rounds}, [output, made, enlarged])


def _train_config(learning: str, surrogate: str | None, seed: int) -> "TrainConfig":
    """The settings of models, of a preset or a .json file, with the values of these options."""
    import json

    from jaxrecon.models.config import TrainConfig

    if not learning.endswith(".json"):
        config = TrainConfig.preset(learning)
    else:
        try:
            settings = json.loads(Path(learning).read_text(encoding="utf-8-sig"))
            config = TrainConfig.from_dict(settings)
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"expected settings of models in {learning}, got {error}") from error
    config = config.replace(seed=seed)
    return config if surrogate is None else config.replace(surrogate=surrogate.replace("-", "_"))

"""`jaxrecon train`, `generate` and `design`: structures that have a wanted energy."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from jaxrecon.cli import options
from jaxrecon.cli.options import (
    Bulk,
    Calculator,
    Force,
    Jobs,
    Quiet,
    Resume,
    Seed,
    reporting,
    warned,
)
from jaxrecon.cli.verbs import Report
from jaxrecon.inverse_design.config import GenerateConfig

USUAL = GenerateConfig()
TRAIN_EXAMPLES = """\b
Examples:
  jaxrecon train pt10 -o model
  jaxrecon train pt10_300.extxyz -o published --learning fung2022"""
GENERATE_EXAMPLES = """\b
Examples:
  jaxrecon generate model --target 2.8 --samples 1000 -o made.extxyz
  jaxrecon generate model --at-least 3.0 --at-most 3.2 -o between.extxyz"""
DESIGN_EXAMPLES = """\b
Example:
  jaxrecon design pt10_pbe --target 1.9 --count 100 --rounds 2 --calculator gpaw -o low"""

Set = Annotated[
    str,
    typer.Argument(
        metavar="SET",
        help="File of labelled structures, like one that `dataset build` wrote, or of "
        "fingerprints, like x.csv beside y.csv; or the name of a set that comes with the package.",
    ),
]
Learning = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE.json", help="Settings of the models: default, fung2022, or all of them."
    ),
]
Symbols = Annotated[
    str | None,
    typer.Option(metavar="Pt10", help="Formula, where the set has fingerprints alone."),
]
Target = Annotated[
    float | None, typer.Option(metavar="E", help="Energy of formation that is wanted, eV/atom.")
]
AtLeast = Annotated[
    float | None, typer.Option(metavar="E", help="Least of the energies that are wanted, eV/atom.")
]
AtMost = Annotated[
    float | None, typer.Option(metavar="E", help="Largest of them; both make a range.")
]
Plain = Annotated[
    bool, typer.Option("--plain", help="Search for the fingerprint alone, as was published.")
]
Direct = Annotated[bool, typer.Option("--direct", help="Search for the energy alone.")]
Hops = Annotated[int, typer.Option(help="Rounds of the search for each structure at most.")]
Pull = Annotated[
    float,
    typer.Option(
        help="Miss in eV/atom that a fingerprint counts as that is off by a standard deviation."
    ),
]
Trust = Annotated[
    float, typer.Option(help="Standard deviations of a prediction that count as much as a miss.")
]


def train(
    labelled: Set,
    output: Annotated[Path, options.output("MODEL", "Folder to write.")],
    learning: Learning = "default",
    symbols: Symbols = None,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Learn from labelled structures: which fingerprints an energy has, and the other way.

    A part of the set is kept aside, by trajectory unless the settings say otherwise: the errors
    of the energies there are printed. Checkpoints are in MODEL.training until the end.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.datasets.io import read_labelled
    from jaxrecon.models.training import train

    if resume and force:
        raise ValueError("expected --resume or --force, got both")
    checkpoints = output.with_name(f"{output.name}.training")
    if not output.resolve().parent.is_dir():
        raise NotADirectoryError(f"expected a directory to write {output} to, got none")
    for path in (output, checkpoints):
        if path.exists() and not force and not (resume and path == checkpoints):
            raise FileExistsError(f"expected nothing in the way, --resume or --force, got {path}")
    settings = arguments.learning_of(learning).replace(seed=seed)
    rows = read_labelled(labelled)
    options.start_jax()
    if force:
        _remove(checkpoints, "training.json")
    epochs = settings.generator_fit.epochs
    epochs += settings.surrogate_fit.epochs * (settings.surrogate == "network")
    try:
        with warned(), reporting(None, epochs, ("training", "rows"), quiet) as progress:
            model = train(rows, settings, symbols=symbols, store=checkpoints, progress=progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"checkpoints are in {checkpoints}") from None
    model.save(output)
    _remove(checkpoints, "training.json")
    told = model.validation
    low, high = model.range
    text = (
        f"{output}: {len(model.training)} {model.symbols} from {low:.3f} to {high:.3f} eV/atom; "
        f"mean absolute error {told['mae']:.4f} eV/atom on {told['rows']} kept aside"
    )
    data = {"structures": len(model.training), "symbols": model.symbols, "range": [low, high]}
    return Report(text, {**data, "validation": told}, [output])


def generate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that `train` wrote.")],
    output: Annotated[
        Path,
        options.output(
            "OUT.extxyz",
            "Structures to write, with what is known of each; OUT.json has the numbers of "
            "all, and OUT.db each one as soon as it is there.",
        ),
    ],
    target: Target = None,
    at_least: AtLeast = None,
    at_most: AtMost = None,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Structures to make.")] = 100,
    screened: Annotated[
        bool, typer.Option("--screened", help="Write those alone that are kept.")
    ] = False,
    plain: Plain = False,
    direct: Direct = False,
    hops: Hops = USUAL.search.hops,
    pull: Pull = USUAL.pull,
    trust: Trust = USUAL.trust,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Make structures that have an energy.

    Each frame has its `predicted` energy and how sure that is, the `residual` of the fingerprint
    that was drawn, its `shortest` distance by covalent radii, whether it is a `duplicate` of an
    earlier one or `known` from training, and whether it is `kept` for none of these.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.inverse_design import generation
    from jaxrecon.models.design_model import DesignModel
    from jaxrecon.runtime.files import write_json
    from jaxrecon.search.store import Store
    from jaxrecon.structures.io import write_structures

    details = options.details_of(output)
    wanted = arguments.wanted(target, at_least, at_most)
    settings = _making(plain, direct, hops, pull, trust)
    learned = DesignModel.load(model)
    kept = options.opened(Store, output, details, resume=resume, force=force)
    options.start_jax()
    words = ("generating", "evaluations")
    with warned(), reporting(kept, samples, words, quiet) as progress:
        made = generation.generate(
            learned, wanted, samples, seed=seed, config=settings, store=kept, progress=progress
        )
    write_structures(output, list(made.screened() if screened else made))
    told = made.to_dict()
    write_json(details, {"model_folder": str(model), **told})
    data = {name: told[name] for name in ("wanted", "raw", "screened", "versions")}
    return Report(str(made), data, [output, details])


def design(
    labelled: Set,
    output: Annotated[
        Path,
        options.output(
            "FOLDER",
            "Folder to write: made.extxyz, rounds.json, set.npz with all that was judged, "
            "and what each round has made.",
        ),
    ],
    target: Target = None,
    at_least: AtLeast = None,
    at_most: AtMost = None,
    count: Annotated[int, typer.Option(min=1, help="Structures to make in the end.")] = 100,
    rounds: Annotated[int, typer.Option(min=0, help="How often structures are judged.")] = 2,
    labels: Annotated[
        int, typer.Option(min=1, help="Structures made to be judged in each round.")
    ] = 20,
    calculator: Calculator = "emt",
    bulk: Bulk = None,
    jobs: Jobs = None,
    learning: Learning = "default",
    symbols: Symbols = None,
    hops: Hops = USUAL.search.hops,
    pull: Pull = USUAL.pull,
    trust: Trust = USUAL.trust,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Make structures that have an energy, with a model that learns from a judge in rounds.

    Train, make, judge, and again with what was judged; in the end --count structures are made,
    which are not judged. Hits, yield and labels spent are printed by round.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.datasets.io import read_labelled, write_labelled
    from jaxrecon.inverse_design import closed_loop
    from jaxrecon.inverse_design.evaluation import text
    from jaxrecon.structures.io import write_structures

    if resume and force:
        raise ValueError("expected --resume or --force, got both")
    wanted = arguments.wanted(target, at_least, at_most)
    making = _making(False, False, hops, pull, trust)
    references, settings = (
        arguments.energies_of(bulk),
        arguments.learning_of(learning).replace(seed=seed),
    )
    rows = read_labelled(labelled)
    if output.exists() and not resume:
        if not force:
            raise FileExistsError(f"expected nothing in the way, --resume or --force, got {output}")
        _remove(output, "run.json")
    options.start_jax()
    total = closed_loop.total(count, rounds, labels)
    try:
        with warned(), reporting(None, total, closed_loop.WORDS, quiet) as progress:
            found = closed_loop.design(
                rows,
                wanted,
                count,
                output,
                calculator=calculator,
                rounds=rounds,
                labels=labels,
                symbols=symbols,
                train_config=settings,
                generate_config=making,
                bulk=references,
                jobs=jobs,
                seed=seed,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what was done is in {output}") from None
    made, rows_after = output / "made.extxyz", output / "set.npz"
    write_structures(made, found.structures)
    write_labelled(rows_after, found.labelled)
    return Report(text(found.rounds), {"rounds": found.rounds}, [output, made, rows_after])


def _making(plain: bool, direct: bool, hops: int, pull: float, trust: float) -> GenerateConfig:
    return USUAL.replace(
        sampled=not direct,
        guided=not plain,
        pull=pull,
        trust=trust,
        search=USUAL.search.replace(hops=hops),
    )


def _remove(folder: Path, mark: str) -> None:
    """A folder that jaxrecon has made, which a file in it shows."""
    if not folder.exists():
        return
    if not (folder / mark).is_file():
        raise FileExistsError(f"expected a folder of such a run to replace, got {folder}")
    shutil.rmtree(folder)

"""`jaxrecon generate`: structures that have a wanted energy, from trained models."""

from pathlib import Path
from typing import Annotated

import typer

from jaxrecon.cli import options
from jaxrecon.cli.options import Force, Quiet, Seed, reporting
from jaxrecon.cli.verbs import Report
from jaxrecon.cli.wanted import parse_also, wanted_energy
from jaxrecon.inverse_design.config import GenerateConfig

DEFAULTS = GenerateConfig()
"""Settings of which some are options."""

GENERATE_EXAMPLES = """\b
Examples:
  jaxrecon generate model --target 2.8 --samples 1000 -o made.extxyz
  jaxrecon generate model --at-least 3.0 --at-most 3.2 -o between.extxyz
  jaxrecon generate any --target 0.3 --elements Sr,Ti,Zr,O,N --atoms 5 -o new.extxyz
  jaxrecon generate any --target 0.3 --also gaps=1.5:2.5 -o both.extxyz"""

Target = Annotated[
    float | None, typer.Option(metavar="E", help="Wanted formation energy in eV/atom.")
]
AtLeast = Annotated[
    float | None,
    typer.Option(metavar="E", help="Smallest wanted formation energy in eV/atom, for a range."),
]
AtMost = Annotated[
    float | None,
    typer.Option(metavar="E", help="Largest wanted formation energy in eV/atom, for a range."),
]
Plain = Annotated[
    bool,
    typer.Option(
        "--plain",
        help="Search for drawn fingerprints without guidance by the energy, as published; not with "
        "--direct.",
    ),
]
Direct = Annotated[
    bool,
    typer.Option(
        "--direct",
        help="Search for the energy alone, without drawn fingerprints; not with --plain.",
    ),
]
Hops = Annotated[
    int,
    typer.Option(
        min=1,
        help="Largest number of hops for each structure: in a hop atoms are moved at random, and "
        "the misfit is minimised.",
    ),
]
Pull = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="Weight of the drawn fingerprint: a difference of one standard deviation of the "
        "training set in every number costs as much as missing the energy by this much, in "
        "eV/atom. Larger: closer to the drawn fingerprint.",
    ),
]
Trust = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="Weight of the uncertainty: a predicted standard deviation costs as much as missing "
        "the energy by this multiple of it. Larger: more certain predictions.",
    ),
]


def generate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that `train` wrote.")],
    output: Annotated[
        Path,
        options.output(
            "OUT.extxyz",
            "Structures to write. OUT.json beside it has the details, and OUT.db has each "
            "structure as soon as it is found.",
        ),
    ],
    target: Target = None,
    at_least: AtLeast = None,
    at_most: AtMost = None,
    samples: Annotated[
        int, typer.Option("--samples", "-n", min=1, help="Number of structures to make.")
    ] = 100,
    screened: Annotated[
        bool, typer.Option("--screened", help="Write only the accepted structures.")
    ] = False,
    plain: Plain = False,
    direct: Direct = False,
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="Pt13",
            help="Formula of the structures: another number of atoms than in the training set "
            "needs a model of energies of atoms and --direct.  [default: that of the model]",
        ),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(
            metavar="Sr,Ti,O",
            help="Elements that structures may have, with a model of several compositions.  "
            "[default: all of its training set]",
        ),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(metavar="Pb,Cd", help="Elements that structures must not have."),
    ] = None,
    atoms: Annotated[
        str | None,
        typer.Option(
            metavar="N|N-M",
            help="Number of atoms that structures may have, with a model of several compositions.  "
            "[default: those of its training set]",
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=E",
            help="Model of a further property with its wanted value, or a range like MODEL=1.5:2.5 "
            "(either end may be left out); may be given several times.",
        ),
    ] = None,
    hops: Hops = DEFAULTS.search.hops,
    pull: Pull = DEFAULTS.pull,
    trust: Trust = DEFAULTS.trust,
    seed: Seed = 0,
    resume: Annotated[bool, options.resumption("--samples", "--hops")] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Make structures that have a wanted energy.

    A model of several compositions chooses elements and numbers of atoms too, and one of crystals
    finds their cells.

    Each frame has its `predicted` energy and the `deviation` of the prediction in eV/atom; with a
    model of energies of atoms, these of every atom and the smallest prediction `rigidity`, the
    larger the firmer; the `residual` of the drawn fingerprint; the `shortest` distance of two atoms
    as a fraction of the sum of their covalent radii; whether it is a `duplicate` of an earlier
    structure or `known` from training; and whether it is `accepted` by all of these.

    The table has, for all structures (raw) and for the accepted ones (screened): the part predicted
    within 0.1 of the wanted energy, the mean distance of predictions from it, the parts that are no
    duplicate and not known, the mean predicted deviation, and how different the structures are from
    each other.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.inverse_design import generation
    from jaxrecon.models.folder import load_model
    from jaxrecon.runtime.files import write_json
    from jaxrecon.search.store import Store
    from jaxrecon.structures.io import write_structures

    details = options.details_path(output)
    wanted = wanted_energy(target, at_least, at_most)
    others = [parse_also(text) for text in also or ()]
    sizes = None if atoms is None else arguments.parse_atoms(atoms)
    config = settings_of(plain, direct, hops, pull, trust)
    # Reading a model starts JAX, which can't be given more devices afterwards.
    options.start_jax()
    trained = load_model(model)
    further = [(load_model(folder), value) for folder, value in others]
    results = options.open_store(Store, output, details, resume=resume, force=force)
    words = ("generating", "evaluations")
    with reporting(results, samples, words, quiet) as progress:
        made = generation.generate(
            trained,
            wanted,
            samples,
            also=further,
            symbols=symbols,
            elements=None if elements is None else elements.replace(" ", "").split(","),
            exclude=() if exclude is None else exclude.replace(" ", "").split(","),
            atoms=sizes,
            seed=seed,
            config=config,
            store=results,
            progress=progress,
        )
    write_structures(output, list(made.screened() if screened else made))
    report = made.to_dict()
    write_json(details, {"model_folder": str(model), **report})
    payload = {name: report[name] for name in ("wanted", "raw", "screened", "versions")}
    payload["repeated"] = results.repeated
    lines = [str(made), *options.repeated(results, "samples")]
    return Report("\n".join(lines), payload, [output, details])


def settings_of(plain: bool, direct: bool, hops: int, pull: float, trust: float) -> GenerateConfig:
    """Return the default settings with the values of these options."""
    if plain and direct:
        raise ValueError("expected --plain or --direct, which exclude each other, got both")
    return DEFAULTS.replace(
        sampled=not direct,
        guided=not plain,
        pull=pull,
        trust=trust,
        search=DEFAULTS.search.replace(hops=hops),
    )

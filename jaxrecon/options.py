"""Options that several verbs of the command line have in common, and what they start with."""

from typing import Annotated

import typer

Force = Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the random numbers.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the same run where it stopped, if it began.")
]
Calculator = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="emt, chgnet, sevennet, xtb, gpaw, vasp, or module:factory, a function of your own.",
    ),
]
Bulk = Annotated[
    str | None,
    typer.Option(
        metavar="Pt=-5.83",
        help="Energies of bulk crystals in eV/atom, between commas.  [default: those that the "
        "calculator gives]",
    ),
]
Jobs = Annotated[int | None, typer.Option(metavar="J", help="Processes.  [default: 1]")]


def start_jax() -> None:
    """Have JAX use all cores, and keep what it compiles."""
    from jaxrecon import devices

    devices.use_all_cores()
    devices.enable_compilation_cache()

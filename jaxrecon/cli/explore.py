"""`jaxrecon explore`: a page with a map of fingerprints and the structures beside it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jaxrecon.cli import options
from jaxrecon.cli.options import Force, Seed
from jaxrecon.cli.verbs import Report

EXAMPLES = """\b
Examples:
  jaxrecon explore found.extxyz
  jaxrecon explore loop -o loop.html --map umap"""


class Map(StrEnum):
    """How fingerprints become places on the map."""

    PCA = "pca"
    UMAP = "umap"


def explore(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="What a verb wrote: structures, an .npz of a labelled set, a database of ASE, or "
            "the folder of a design.",
        ),
    ],
    output: Annotated[
        Path | None,
        options.output("OUT.html", "Page to write.  [default: RUN.html]"),
    ] = None,
    method: Annotated[
        Map, typer.Option("--map", help="Principal components, or UMAP (needs umap-learn).")
    ] = Map.PCA,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Fingerprint to map by: default, crystal, fung2022 or gastegger2018.  [default: "
            "crystal if a structure is periodic; gastegger2018 for more than 5 elements]",
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> Report:
    """Write a page that shows structures on a map of their fingerprints, for any browser.

    A click on a point shows its structure; a slider goes through all of them by energy, residual or
    whatever number is known. The page is one file that needs no network. Needs chemiscope:
    pip install "jaxrecon[explore]".
    """
    from jaxrecon.plotting import explorer
    from jaxrecon.runtime.files import check_output

    page = output or run.with_suffix(".html")
    check_output(page, force, suffix=".html")
    explorer.check_packages(method.value)
    labelled = explorer.read(run)
    options.start_jax()
    shown = explorer.explore(
        labelled, page, title=run.name, method=method.value, preset=preset, seed=seed
    )
    left = len(labelled) - shown
    text = f"{page}: {shown} structures{f', {left} without positions left out' if left else ''}"
    return Report(text, {"structures": shown, "left_out": left}, [page])

"""`jaxrecon explore`: a page with a map of fingerprints and the structures beside it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jaxrecon.cli import options, presets
from jaxrecon.cli.options import Force, Seed
from jaxrecon.cli.verbs import Report

EXAMPLES = """\b
Examples:
  jaxrecon explore found.extxyz
  jaxrecon explore loop -o loop.html --map umap"""


class Map(StrEnum):
    """Methods that project fingerprints onto the map."""

    PCA = "pca"
    UMAP = "umap"


def explore(
    run: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Outputs of verbs, which are shown together: structures, an .npz file of a "
            "labelled set, an ASE database, a folder of structures or that of `design`; or - for "
            "structures on standard input.",
        ),
    ],
    output: Annotated[
        Path | None,
        options.output(
            "OUT.html", "Page to write.  [default: RUN.html, with the name of the first RUN]"
        ),
    ] = None,
    method: Annotated[
        Map,
        typer.Option(
            "--map",
            help="Projection of the fingerprints: pca; or umap, which needs umap-learn: pip "
            'install "jaxrecon[umap]".',
        ),
    ] = Map.PCA,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Parameters of the fingerprint, {presets.LISTED}.  [default: crystal if a "
            "structure is periodic, gastegger2018 for more than 5 elements, else default]",
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> Report:
    """Write a page that shows structures on a map.

    The page is for a browser and has a map of the fingerprints with the structures beside it. A
    click on a point shows its structure; a slider selects structures by energy, residual or any
    other known number. The page is one file that needs no network. It needs chemiscope: pip install
    "jaxrecon[explore]".
    """
    from jaxrecon.plotting import explorer
    from jaxrecon.runtime.files import check_output

    if output is None and str(run[0]) == "-":
        raise ValueError("expected --output with a page like out.html for standard input, got none")
    # A folder may be given as `.` or with a slash at the end.
    title = " ".join(path.name or path.resolve().name for path in run)
    page = output or (run[0] if run[0].name else run[0].resolve()).with_suffix(".html")
    check_output(page, force, suffix=".html")
    explorer.check_packages(method.value)
    labelled = explorer.read(run)
    options.start_jax()
    shown = explorer.explore(
        labelled, page, title=title, method=method.value, preset=preset, seed=seed
    )
    left_out = len(labelled) - shown
    text = f"{page}: {shown} structures"
    if left_out:
        text += f", {left_out} without positions left out"
    return Report(text, {"structures": shown, "left_out": left_out}, [page])

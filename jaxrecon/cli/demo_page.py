"""The page of the demonstration: one file of plain HTML for any browser."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from jaxrecon.cli.demo_design import Designed

FILES = {
    "truth.extxyz": "the four true structures",
    "reconstruction.extxyz": "the structures recovered from their fingerprints",
    "truth.cif": "the true crystal",
    "reconstruction.cif": "the recovered crystal",
    "made.extxyz": "the clusters that were made, with all predictions for each",
    "made.npz": "their fingerprints and formulas, without positions",
    "demo.json": "all numbers, settings and versions",
    "demo.png": "the first figure",
    "design.png": "the second figure",
}
"""Content of the files beside the page, by their names."""

MODEL = "model"
"""Name of the folder of the model, beside the page."""

STYLE = """
body { margin: 0 auto; max-width: 58rem; padding: 1rem; background: #fff; color: #222;
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
img { display: block; max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.45rem; white-space: nowrap; border-bottom: 1px solid #ddd; }
pre { overflow-x: auto; padding: 0.8rem; background: #f4f4f4; }
a { color: #0060a0; }
"""
"""Style sheet of the page."""

RECOVERED = """A fingerprint turns atoms into numbers that do not depend on orientation, origin
or the order of the atoms. The fingerprint of each of these structures was computed, and a search
that knew the fingerprint but not the positions found the structure again, starting from random
positions. A residual of 1e-6 or less means that all numbers agree; the error is how far an atom may
still be from its place with that residual, in &Aring;ngstr&ouml;m, by the derivatives of the
numbers. RMSD is the deviation of the atoms from the true structure, after the best rotation,
reflection and order of the atoms."""

MADE = """The opposite direction: clusters of ten platinum atoms that have a wanted formation
energy. A small conditional autoencoder drew fingerprints that such clusters may have. The same
search found clusters that have these fingerprints, guided towards the energy by a surrogate."""

LIMITS = """None of this is a proof. The known clusters were computed by PBE, and only PBE can tell
the energies of the new ones: <code>jaxrecon judge</code> calls GPAW, where that is installed."""

FIGURE = """Left: the predicted energies of each cluster, with standard deviations; the grey band is
what counts as a hit. Right: the energies of another potential, for the known clusters and for those
that were made. Below: some of these, with the energy that the surrogate predicts."""
"""Texts of the page, in HTML."""


def page(
    directory: Path,
    *,
    recovered: str,
    designed: Designed,
    commands: Sequence[str],
    about: str,
) -> str:
    """Write the page, which contains both figures and links the files beside it.

    Args:
        directory: the directory of the figures.
        recovered: table of the recovered structures, as HTML.
        designed: the clusters that were made.
        commands: commands to try next.
        about: one line about how the page was made.

    Returns:
        The page as HTML.

    Raises:
        OSError: if a figure can't be read.
    """
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in designed.remarks)
    links = "".join(
        f'<li><a href="{name}">{name}</a>: {escape(content)}</li>'
        for name, content in {**FILES, f"{MODEL}/": "the trained model"}.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>jaxrecon demo</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Structures from fingerprints</h1>
<p>{escape(about)}</p>
<h2>Recovered: from structures to fingerprints and back</h2>
<p>{RECOVERED}</p>
<div class="wide">{recovered}</div>
{_image(directory / "demo.png", "Four true structures, and below them those that were recovered.")}
<h2>Made: structures for an energy</h2>
<p>{MADE}</p>
<div class="wide">{designed.to_html()}</div>
<ul>{remarks}</ul>
<p>{LIMITS}</p>
{_image(directory / "design.png", "Predicted energies of clusters, and some of the clusters.")}
<p>{FIGURE}</p>
<h2>Try next</h2>
<pre>{escape(chr(10).join(commands))}</pre>
<p>The first command finds the clusters that were made again, from <a href="made.npz">made.npz</a>
alone; the second compares them; the third makes clusters for another energy. With <code>pip install
"jaxrecon[explore]"</code>, <code>jaxrecon explore</code> shows any file of structures on a map.</p>
<h2>Files</h2>
<ul>{links}</ul>
</body>
</html>
"""


def _image(path: Path, alternative: str) -> str:
    """An image within the page, with a text for readers who can't see it."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(alternative)}" src="data:image/png;base64,{data}">'

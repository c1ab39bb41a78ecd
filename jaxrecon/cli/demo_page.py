"""The page of the demonstration: one file of plain HTML that any browser shows."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from jaxrecon.cli.demo_design import Designed

FILES = {
    "truth.extxyz": "the four structures",
    "reconstruction.extxyz": "what was recovered from their fingerprints",
    "truth.cif": "the crystal among them",
    "reconstruction.cif": "the crystal that was recovered",
    "made.extxyz": "the clusters that were made, with all that is said of each",
    "made.npz": "their fingerprints and formulas, without positions",
    "demo.json": "all numbers, settings and versions",
    "demo.png": "the first figure",
    "design.png": "the second figure",
}
"""What stands beside the page, and what it is."""

MODEL = "model"
"""Folder beside them."""

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

RECOVERED = """A fingerprint turns atoms into numbers that know nothing of orientation, origin or
the order of the atoms. Each of these structures became such numbers, its positions were forgotten,
and a search from random ones found them again. A residual of 1e-6 or less is a certificate: all
numbers are hit to the digits they have. RMSD is how far atoms are from the truth, in
&Aring;ngstr&ouml;m, whatever the rotation, reflection and order."""

MADE = """Now the other way round: clusters of ten platinum atoms that have a wanted energy of
formation. A small conditional autoencoder drew fingerprints that such clusters may have, and the
same search found clusters that have these, guided towards the energy by a surrogate."""

HONEST = """None of this is a proof. What the clusters are worth, PBE alone can say, by which the
known ones were computed: <code>jaxrecon judge</code> asks GPAW, where that is installed."""

FIGURE = """Left: what is said of each cluster, with standard deviations; a grey band is what counts
as a hit. Right: another potential, at the clusters that are known and at those that were made.
Below: some of these, with the energy that the surrogate predicts."""


def page(
    directory: Path,
    *,
    recovered: str,
    designed: Designed,
    commands: Sequence[str],
    about: str,
) -> str:
    """The page as HTML, both figures in it, that links the files beside it.

    Args:
        directory: of the figures.
        recovered: table of what was recovered, as HTML.
        designed: what was made.
        commands: to try next.
        about: how it was made, in a line.

    Raises:
        OSError: if a figure can't be read.
    """
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in designed.remarks)
    links = "".join(
        f'<li><a href="{name}">{name}</a>: {escape(what)}</li>'
        for name, what in {**FILES, f"{MODEL}/": "the trained model"}.items()
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
<h2>Recovered: there and back</h2>
<p>{RECOVERED}</p>
<div class="wide">{recovered}</div>
{_image(directory / "demo.png", "Four structures above what was recovered of each.")}
<h2>Made: structures for an energy</h2>
<p>{MADE}</p>
<div class="wide">{designed.to_html()}</div>
<ul>{remarks}</ul>
<p>{HONEST}</p>
{_image(directory / "design.png", "Energies that are told of clusters, and some of these.")}
<p>{FIGURE}</p>
<h2>Try next</h2>
<pre>{escape(chr(10).join(commands))}</pre>
<p>The first two find the clusters that were made again, from <a href="made.npz">made.npz</a> alone,
and compare; the third makes clusters for another energy. With <code>pip install
"jaxrecon[explore]"</code>, <code>jaxrecon explore</code> shows any file of structures on a map.</p>
<h2>Files</h2>
<ul>{links}</ul>
</body>
</html>
"""


def _image(path: Path, what: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(what)}" src="data:image/png;base64,{data}">'

"""The page of the demonstration: one file of plain HTML for any browser, without a network."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from ase import Atoms

from jaxrecon.cli import demo_recover
from jaxrecon.cli.demo_design import Designed
from jaxrecon.cli.demo_recover import Recovered
from jaxrecon.plotting import turnable
from jaxrecon.structures import matching

FILES = {
    "truth.extxyz": "the four true structures",
    "reconstruction.extxyz": "the structures recovered from numbers",
    "truth.cif": "the true crystal",
    "reconstruction.cif": "the recovered crystal",
    "made.extxyz": "the clusters that were made, with all predictions for each",
    "made.npz": "their fingerprints and formulas, without positions",
    "crystals.extxyz": "the crystals that were made, with all predictions for each",
    "demo.json": "all numbers, settings and versions",
    "demo.png": "a picture of the four structures and what was recovered",
    "design.png": "the figure of the clusters",
}
"""Content of the files beside the page, by their names."""

MODEL = "model"
"""Name of the folder of the model of clusters, beside the page."""

STYLE = """
body { margin: 0 auto; max-width: 58rem; padding: 1rem; background: #fff; color: #222;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
img { display: block; width: 100%; max-width: 34rem; height: auto; margin: 1rem auto; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.45rem; border-bottom: 1px solid #ddd; }
th { vertical-align: bottom; }
td[style*="right"] { white-space: nowrap; }
@media (max-width: 34rem) {
  table { font-size: 0.78rem; line-height: 1.3; }
  th, td { padding: 0.3rem 0.2rem; }
}
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr));
  gap: 1.5rem 1rem; }
pre { overflow-x: auto; padding: 0.8rem; background: #f4f4f4; }
a { color: #0060a0; }
"""
"""Style sheet of the page."""

RECOVERED = """Each of these structures was turned into numbers, and found again from the numbers.
Symmetry functions and SOAP don't depend on orientation, origin or the order of the atoms: a search
that knew them and the formula, but no positions, started from random positions. Images are voxels
that hold the cell and the elements too, and are read without a search. The stated error says how
far an atom may still be off, from the numbers alone; the true error is the distance from the true
structure, after the best rotation, reflection and order of the atoms."""

TURN = """Left the true structure, right the recovered one. Drag them, or use the arrow keys, to
turn both."""

CLUSTERS = """The opposite direction: clusters of ten platinum atoms that have a wanted formation
energy, in eV/atom. From 300 clusters, whose energies were computed by PBE, a small model learned
which fingerprints go with which energy. It drew new fingerprints, and the same search found
clusters that have them."""

EMT = """Nobody computed these clusters by PBE yet (<code>jaxrecon judge</code> does, where GPAW is
installed). EMT, effective medium theory, is a potential that had no part in making them."""

FIGURE = """Each grey point is a known cluster, each coloured one a cluster that was made, with the
standard deviation that the model states. They should lie among the grey ones of the same
energy."""

CRYSTALS = """Here cells are found as well as positions. The model learned from distorted crystals
of Cu, Au, CuAu and CuAu<sub>3</sub> with energies by EMT, none of them Cu<sub>3</sub>Au, and was
asked for just this. That is foreign ground, which the error that it states should show."""
"""Texts of the page, in HTML."""


def page(
    directory: Path,
    *,
    recovered: Sequence[Recovered],
    clusters: Designed,
    crystals: Designed,
    commands: Sequence[str],
    about: str,
) -> str:
    """Write the page, which contains the figures and links the files beside it.

    Args:
        directory: the directory of ``design.png``.
        recovered: the recovered structures.
        clusters: the clusters that were made.
        crystals: the crystals that were made.
        commands: commands to try next.
        about: one line about how the page was made.

    Returns:
        The page as HTML.

    Raises:
        OSError: if the picture can't be read.
    """
    links = "".join(
        f'<li><a href="{name}">{name}</a>: {escape(content)}</li>'
        for name, content in {**FILES, f"{MODEL}/": "the trained model of clusters"}.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>jaxrecon demo</title>
<style>{STYLE}{turnable.STYLE}</style>
</head>
<body>
<h1>Structures from numbers</h1>
<p>{escape(about)}</p>
<h2>Recovered: from structures to numbers and back</h2>
<p>{RECOVERED}</p>
<div class="wide">{demo_recover.html(recovered)}</div>
<p>{TURN}</p>
<div class="figures">{"".join(map(_recovered, recovered))}</div>
<h2>Made: clusters for an energy</h2>
<p>{CLUSTERS}</p>
<div class="wide">{clusters.to_html()}</div>
<p>{escape(clusters.error)} {EMT}</p>
{_image(directory / "design.png", "Energies by EMT against predicted energies of clusters.")}
<p>{FIGURE}</p>
<div class="figures">{_made(clusters)}</div>
<h2>Made: crystals for an energy</h2>
<p>{CRYSTALS}</p>
<div class="wide">{crystals.to_html()}</div>
<p>{escape(crystals.error)}</p>
<div class="figures">{_made(crystals)}</div>
<h2>Try next</h2>
<pre>{escape(chr(10).join(commands))}</pre>
<p>The first command finds the clusters that were made again, from <a href="made.npz">made.npz</a>
alone; the second compares them; the third makes clusters for another energy. With <code>pip install
"jaxrecon[explore]"</code>, <code>jaxrecon explore</code> shows any file of structures on a map.</p>
<h2>Files</h2>
<ul>{links}</ul>
<script>{turnable.script()}</script>
</body>
</html>
"""


def _recovered(each: Recovered) -> str:
    """A structure beside what was recovered of it."""
    name, truth, found, _, _ = each.pair
    with suppress(ValueError):  # another structure stays as it is
        found = matching.align(truth, found)
    shown: Mapping[str, Atoms] = {f"{name}, true": truth, f"{name}, recovered": found}
    return turnable.figure(shown, f"{name}, from {each.source}\n{each.pair.rmsd:.0e} Å off")


def _made(designed: Designed) -> str:
    """The first structure that was made for each target."""
    figures = []
    for row in designed.rows:
        group = [atoms for atoms in designed.structures if atoms.info["target"] == row.target]
        for atoms in group[:1]:
            info, formula = atoms.info, designed.order.symbols
            caption = (
                f"{formula}, made for {row.target:g} eV/atom\n"
                f"predicted {info['predicted']:.2f} ± {info['deviation']:.2f}, "
                f"EMT says {info['emt']:.2f}"
            )
            figures.append(
                turnable.figure({f"{formula} for {row.target:g} eV/atom": atoms}, caption)
            )
    return "".join(figures)


def _image(path: Path, alternative: str) -> str:
    """An image within the page, with a text for readers who can't see it."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(alternative)}" src="data:image/png;base64,{data}">'

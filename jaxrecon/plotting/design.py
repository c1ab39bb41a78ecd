"""Figures of design: energies of what was made for each target, and how often it is hit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.descriptors.featurize import featurize
from jaxrecon.inverse_design.evaluation import TARGETS, WITHIN
from jaxrecon.inverse_design.generated import widths_of
from jaxrecon.models.design_model import DesignModel
from jaxrecon.plotting.canvas import Canvas
from jaxrecon.plotting.data import PALE, parity, principal_maps
from jaxrecon.plotting.reconstructions import COLORS, INK

BINS = 40


def target_histograms(
    energies: Mapping[float, Mapping[str, Float[np.ndarray, " n"]]],
    path: str | Path,
    *,
    within: float,
    across: str = "formation energy (eV/atom)",
    what: str = "structures",
) -> None:
    """Write a picture of how energies are distributed around each target, one panel each.

    Args:
        energies: in eV/atom, by target and by what the structures are; what is not finite is not
            drawn.
        path: file to write; its suffix decides the format.
        within: how far from the target counts as hit, drawn as a band.
        across: what the energies are.
        what: they are the energies of.

    Raises:
        ValueError: if there is no finite energy.
    """
    whole = np.concatenate(
        [each for groups in energies.values() for each in groups.values()] or [np.empty(0)]
    )
    whole = whole[np.isfinite(whole)]
    if not len(whole):
        raise ValueError("expected energies to draw, got none")
    # A few that are far off leave the others to be seen.
    low, high = np.percentile(whole, [1.0, 99.0])
    ends = (min(low, *energies) - within, max(high, *energies) + within)
    edges = np.linspace(*ends, BINS + 1).tolist()
    figure = Canvas(6.4, 0.6 + 1.2 * len(energies))
    axes = figure.subplots(len(energies), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (target, groups) in zip(axes, energies.items(), strict=True):
        axis.axvspan(target - within, target + within, color=PALE, lw=0)
        axis.axvline(target, color=INK, lw=0.8)
        for number, (name, values) in enumerate(groups.items()):
            finite = values[np.isfinite(values)]
            weights = np.full(len(finite), 1.0 / max(len(finite), 1))
            hit = np.mean(np.abs(values - target) <= within) if len(values) else 0.0
            colour = COLORS[number % len(COLORS)]
            label = f"{name}: {100 * hit:.0f} % of {len(values)}"
            clipped = np.clip(finite, *ends)
            axis.hist(clipped, edges, weights=weights, histtype="step", color=colour, label=label)
        axis.set_ylabel(f"{target:g}")
        axis.set_yticks([])
        axis.legend(fontsize=7)
    axes[-1].set_xlabel(across)
    figure.supylabel(f"{what}, for each target in eV/atom", fontsize=10)
    figure.savefig(path, dpi=160)


def hit_bars(
    parts: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path, *, title: str = ""
) -> None:
    """Write a picture of the part of structures that hits each target, with its spread.

    Args:
        parts: rows of :func:`~jaxrecon.inverse_design.evaluation.over_seeds` by what was done:
            ``target``, ``within`` and ``spread``.
        path: file to write; its suffix decides the format.
        title: above the picture.

    Raises:
        ValueError: if there is no row.
    """
    targets = sorted({row["target"] for rows in parts.values() for row in rows})
    if not targets:
        raise ValueError("expected rows to draw, got none")
    figure = Canvas(1.6 + 0.25 * len(targets) * (len(parts) + 1), 3.8)
    axis = figure.subplots()
    width = 1.0 / (len(parts) + 1)
    for number, (name, rows) in enumerate(parts.items()):
        known = [row for row in rows if row["within"] is not None]
        places = [targets.index(row["target"]) + width * number for row in known]
        heights = [100.0 * row["within"] for row in known]
        spreads = [100.0 * (row["spread"] or 0.0) for row in known]
        colour = COLORS[number % len(COLORS)]
        axis.bar(places, heights, width, yerr=spreads, color=colour, ecolor=INK, label=name)
    middle = width * (len(parts) - 1) / 2.0
    axis.set_xticks([place + middle for place in range(len(targets))], [f"{t:g}" for t in targets])
    axis.set_xlabel("target (eV/atom)")
    axis.set_ylabel("hits (%)")
    # Room for the legend.
    axis.set_ylim(0.0, 120.0)
    axis.set_yticks(range(0, 101, 20))
    axis.legend(fontsize=7)
    axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=160)


def figure6(
    models: Mapping[str, DesignModel],
    path: str | Path,
    *,
    targets: Sequence[float] = TARGETS,
    samples: int = 1000,
    seed: int = 0,
) -> None:
    """Write a picture of what surrogates think of fingerprints that are generated at each target.

    Args:
        models: by name.
        path: file to write; its suffix decides the format.
        targets: values of the property, in eV/atom.
        samples: fingerprints a target.
        seed: of the random numbers.
    """
    energies = {
        target: {
            name: model.predict(model.sample(target, samples, seed))[0]
            for name, model in models.items()
        }
        for target in targets
    }
    target_histograms(
        energies, path, within=WITHIN, across="predicted energy (eV/atom)", what="fingerprints"
    )


def figure7(structures: Sequence[Atoms], path: str | Path) -> None:
    """Write a picture of what a judge says of structures made for each target, raw and screened.

    Args:
        structures: with ``target``, ``kept`` and ``e_form`` in ``info``.
        path: file to write; its suffix decides the format.

    Raises:
        ValueError: if none has an energy.
    """
    energies: dict[float, dict[str, np.ndarray]] = {}
    for target in sorted({atoms.info["target"] for atoms in structures if "target" in atoms.info}):
        some = [atoms.info for atoms in structures if atoms.info.get("target") == target]
        kept = [info for info in some if info.get("kept")]
        energies[target] = {
            name: np.array([info.get("e_form", np.nan) for info in each])
            for name, each in (("raw", some), ("screened", kept))
        }
    target_histograms(energies, path, within=WITHIN)


def figure8(structures: Sequence[Atoms], path: str | Path) -> None:
    """Write a picture of what was predicted of structures against what a judge says.

    Args:
        structures: with ``predicted`` and ``e_form`` in ``info``.
        path: file to write; its suffix decides the format.

    Raises:
        ValueError: if none has both.
    """
    groups: dict[str, list[tuple[float, float]]] = {}
    for atoms in structures:
        pair = (atoms.info.get("predicted", np.nan), atoms.info.get("e_form", np.nan))
        groups.setdefault(_named(atoms), []).append(pair)
    columns = {name: np.array(pairs).T for name, pairs in sorted(groups.items())}
    parity(
        {name: (told, truth) for name, (told, truth) in columns.items()},
        path,
        across="judged energy",
        up="predicted energy",
    )


def figure9(model: DesignModel, structures: Sequence[Atoms], path: str | Path) -> None:
    """Write maps of the training set, and of what was made for each target, by energy.

    The axes are those of the largest variance of the standardised fingerprints of all.

    Args:
        model: that made them.
        structures: with ``e_form``, or else ``predicted``, in ``info``.
        path: file to write; its suffix decides the format.

    Raises:
        ValueError: if there is no structure, or one of other elements.
    """
    rows, known = model.training.fingerprints, model.training.formation_energies
    assert rows is not None, "a model has the fingerprints of its training set"
    widths = widths_of(rows)
    made = featurize(structures, model.fingerprint)
    told = [atoms.info.get("e_form", atoms.info.get("predicted", np.nan)) for atoms in structures]
    both = np.concatenate([rows, made])[:, widths > 0.0] / widths[widths > 0.0]
    names = [_named(atoms) for atoms in structures]
    subsets = {"training": np.arange(len(rows))}
    for name in sorted(set(names)):
        subsets[name] = len(rows) + np.flatnonzero([name == each for each in names])
    principal_maps(both, np.concatenate([known, told]), subsets, path)


def _named(atoms: Atoms) -> str:
    return f"{atoms.info['target']:g}" if "target" in atoms.info else "range"

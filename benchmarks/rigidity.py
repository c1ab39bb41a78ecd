"""Prediction rigidities beside the systems of their source, Chong et al., arXiv 2306.15638.

    python benchmarks/rigidity.py -o results
    python benchmarks/rigidity.py --only carbon -o results

Sections:

- ``exact``: on a toy set, the rigidity beside what a constrained refit costs (the source's figure
  S1), and along a line x of features for several regularisers (S2).
- ``silicon``, ``carbon``: amorphous structures by melting and quenching with Tersoff's potential;
  500 structures of 900 (``--structures``), 500 points, zeta 2. Test errors; local rigidity against
  the variance of a committee of 40; ratios of both after 10 and 20 % of annealed structures were
  replaced by molten and quenched ones, or of all structures by those that are held least.
- ``density``: a model of dense annealed carbon on annealed structures of low density, and on dense
  ones that are cut open, with 0, 1 and 3 % of the training structures replaced by such ones.
- ``diamond``: the energy of diamond after three single-environment variants in all structures, with
  the noise that validation chooses and with larger ones.
- ``network``: the rigidity of a network (16-16 without biases, float64), of all weights and of the
  last layer, against a committee of 10, with sigmoids and without activations (S20).

Output: rigidity.json, and a figure for each section.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk
from matplotlib.figure import Figure
from rigidity_network import EPOCHS, REGULARIZER, fit, rigidities
from rigidity_systems import (
    Linear,
    Part,
    choose_noise,
    committee,
    descriptor_of,
    environments,
    joined,
    kernel_features,
    known,
    rms,
    split,
    structures,
    surfaces,
)
from scipy.stats import linregress, spearmanr
from timing import device_name

from jaxrecon import Environments
from jaxrecon.models.local.single_environments import single_environments
from jaxrecon.models.rigidity import Rigidity
from jaxrecon.plotting.canvas import log_ticks, save
from jaxrecon.potentials.single_points import single_points
from jaxrecon.potentials.tersoff import Tersoff
from jaxrecon.runtime.devices import enable_compilation_cache
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions

MEMBERS, MANY = 40, 200
"""Members of a committee, and members where ratios of variances are taken."""

TRAIN = 5 / 9
"""Fraction of the structures that is learned: 500 of 900."""


def exact(folder: Path, total: int) -> dict[str, Any]:
    """The figures S1 and S2: constrained refits, and profiles of the rigidity."""
    random = np.random.default_rng(0)
    grid = np.linspace(-1.0, 1.0, 60)

    def features(x: np.ndarray) -> np.ndarray:
        return np.stack([np.ones_like(x), x, x**2, np.sin(3.0 * x), np.cos(5.0 * x)], axis=-1)

    atoms = random.uniform(-1.0, 0.4, (12, 4))
    means = features(atoms).mean(axis=1)
    energies = np.sin(2.0 * atoms).mean(axis=1) + 0.01 * random.normal(size=12)
    rows = features(grid)
    figure = Figure((9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    worst = 0.0
    profiles = {}
    for mu in (1e-6, 1e-4, 1e-2, 1.0):
        matrix = means.T @ means + mu * np.eye(5)
        weights = np.linalg.solve(matrix, means.T @ energies)

        def loss(w: np.ndarray, mu: float = mu) -> float:
            return float(np.sum((means @ w - energies) ** 2) + mu * np.sum(w**2))

        refitted = []
        for row in rows:
            # Lagrange: the prediction at this x moved by 1.
            system = np.block([[2 * matrix, row[:, None]], [row[None], np.zeros((1, 1))]])
            moved = np.linalg.solve(system, np.r_[2 * means.T @ energies, row @ weights + 1.0])
            refitted.append(loss(moved[:5]) - loss(weights))
        with jax.enable_x64(True):
            found = np.asarray(Rigidity.of(means, mu)(jnp.asarray(rows)))
        worst = max(worst, float(np.max(np.abs(found / refitted - 1.0))))
        left.loglog(refitted, found, ".", label=f"$\\mu$ = {mu:g}")
        right.semilogy(grid, found, label=f"$\\mu$ = {mu:g}")
        profiles[f"{mu:g}"] = [float(found.min()), float(found.max())]
    left.set(xlabel="increase of the loss of a constrained refit", ylabel="LPR")
    right.plot(atoms.ravel(), np.full(atoms.size, 1e-6), "|", color="0.4")
    right.set(xlabel="x", ylabel="LPR", xticks=np.linspace(-1.0, 1.0, 5))
    left.legend()
    save(figure, folder / "rigidity_exact.png")
    return {"largest relative difference": worst, "smallest and largest LPR": profiles}


def amorphous(element: str, folder: Path, total: int) -> dict[str, Any]:
    """Errors, rigidities against committees, and both after replacements."""
    whole = structures(element, folder, total)
    size = round(TRAIN * len(whole))
    chosen = split(whole.trajectories, size)
    parts = [known(element, folder, total).select(part) for part in chosen]
    assert parts[0].energies is not None
    mean = float(parts[0].energies.mean())
    features = kernel_features(parts[0])
    train, validation, test = (Part.of(features, part, mean) for part in parts)
    noise = choose_noise(train, validation)
    model = Linear.fit(train.means, train.energies, noise)
    errors = test.means @ model.weights - test.energies
    local_errors = test.atoms @ model.weights - test.local
    rigidity = model.local(test.atoms)
    members = committee(train.means, train.energies, noise, MEMBERS, 0)
    variance = np.var(test.atoms @ members.T, axis=1, ddof=1)
    line = linregress(np.log(rigidity), np.log(variance))
    found: dict[str, Any] = {
        "structures": [len(part) for part in chosen],
        "noise, eV/atom": noise,
        "spread of energies, meV/atom": 1e3 * float(test.energies.std()),
        "test RMSE, meV/atom": 1e3 * rms(errors),
        "test RMSE of local energies, meV": 1e3 * rms(local_errors),
        "Spearman of LPR and variance": float(spearmanr(rigidity, variance)[0]),
        "slope of log variance by log LPR": float(line.slope),
        "Spearman of LPR and |local error|": float(spearmanr(rigidity, np.abs(local_errors))[0]),
    }
    figure = Figure((12.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].loglog(rigidity, variance, ".", markersize=1, alpha=0.3)
    axes[0].set(xlabel="LPR", ylabel=f"variance of {MEMBERS} members, eV$^2$")
    # Replacements: of annealed structures by molten and quenched ones, and of any structures by
    # those that are held least.
    annealed = np.array(whole.kinds)[chosen[0]] == "anneal"
    hot = np.array(whole.kinds)[chosen[1]] != "anneal"
    smallest = model.local(validation.atoms).reshape(len(chosen[1]), -1).min(axis=1)
    pools = {
        "hot": (annealed, hot),
        "least held": (np.ones(size, bool), smallest <= np.median(smallest)),
    }
    for axis, (name, (old, new)) in zip(axes[1:], pools.items(), strict=True):
        base = train.means[old], train.energies[old]
        others = validation.means[new], validation.energies[new]
        before = Linear.fit(*base, noise).local(test.atoms)
        first = np.var(test.atoms @ committee(*base, noise, MANY, 0).T, axis=1, ddof=1)
        for fraction in (0.1, 0.2):
            count = min(round(fraction * len(base[0])), len(others[0]))
            random = np.random.default_rng(1)
            kept = random.permutation(len(base[0]))[count:]
            added = random.permutation(len(others[0]))[:count]
            both = [
                np.concatenate([one[kept], other[added]])
                for one, other in zip(base, others, strict=True)
            ]
            again = Linear.fit(*both, noise).local(test.atoms)
            members = committee(*both, noise, MANY, 1)
            ratio = np.var(test.atoms @ members.T, axis=1, ddof=1) / first
            axis.loglog(
                again / before, ratio, ".", markersize=1, alpha=0.3, label=f"{count} {name}"
            )
            found[f"{count} of {len(base[0])} replaced, {name}"] = {
                "Spearman of ratios": float(spearmanr(again / before, ratio)[0]),
                "slope of log ratios": float(
                    linregress(np.log(again / before), np.log(ratio)).slope
                ),
                "10 and 90 % of the ratio of LPR": np.quantile(again / before, (0.1, 0.9)).tolist(),
            }
        axis.set(xlabel="ratio of LPR", ylabel="ratio of variance")
        log_ticks(axis.xaxis)
        log_ticks(axis.yaxis)
        axis.legend(markerscale=8)
    save(figure, folder / f"rigidity_{element}.png")
    return found


def density(folder: Path, total: int) -> dict[str, Any]:
    """Errors of structures of low density by a model of dense ones, all of them annealed."""
    whole = structures("C", folder, total)
    values, annealed = np.asarray(whole.columns["density"]), np.array(whole.kinds) == "anneal"
    # Molten and quenched dense structures have the environments of light ones already.
    dense = whole.select(np.flatnonzero((values > 2.8) & annealed))
    light = whole.select(np.flatnonzero((values < 1.9) & annealed))
    base, descriptor = environments(dense, descriptor_of("C")), descriptor_of("C")
    others = {"light": environments(light, descriptor), "surfaces": surfaces(dense, descriptor)}
    assert base.energies is not None
    mean = float(base.energies.mean())
    tracks = np.unique(base.trajectories)
    held = np.isin(base.trajectories, np.random.default_rng(0).permutation(tracks)[::5])
    found: dict[str, Any] = {}
    for name, other in others.items():
        part = other.select(np.arange(0, len(other.trajectories), 10))
        features = kernel_features(joined(base, part))
        high, low = Part.of(features, base, mean), Part.of(features, other, mean)
        # Dense structures of other trajectories choose the noise, as if the others were not known.
        parts = [
            replace(high, means=high.means[own], energies=high.energies[own])
            for own in (~held, held)
        ]
        noise = choose_noise(parts[0], parts[1])
        own = Linear.fit(parts[0].means, parts[0].energies, noise)
        tracks = np.random.default_rng(1).permutation(np.unique(other.trajectories))
        is_source = np.isin(other.trajectories, tracks[::2])
        atoms_of_test = ~is_source[other.owner]
        rows: dict[str, Any] = {
            "structures": [len(high.means), int(is_source.sum()), int((~is_source).sum())],
            "noise, eV/atom": noise,
            "RMSE of dense structures, meV/atom": 1e3
            * rms(parts[1].means @ own.weights - parts[1].energies),
        }
        # The last row, in which all others are added, is what the features allow.
        for percent in (0, 1, 3, 100):
            errors, local, rigidities = [], [], []
            for seed in range(1 if percent == 100 else 5):
                random = np.random.default_rng(seed)
                count = round(percent / 100 * len(high.means))
                kept = random.permutation(len(high.means))[0 if percent == 100 else count :]
                new = random.permutation(np.flatnonzero(is_source))[:count]
                means = np.concatenate([high.means[kept], low.means[new]])
                energies = np.concatenate([high.energies[kept], low.energies[new]])
                model = Linear.fit(means, energies, noise)
                errors.append(rms((low.means @ model.weights - low.energies)[~is_source]))
                local.append(rms((low.atoms @ model.weights - low.local)[atoms_of_test]))
                rigidities.append(float(np.median(model.local(low.atoms)[atoms_of_test])))
            rows["all added" if percent == 100 else f"{percent} %"] = {
                "RMSE, meV/atom": 1e3 * float(np.mean(errors)),
                "RMSE of local energies, meV": 1e3 * float(np.mean(local)),
                "median LPR": float(np.mean(rigidities)),
            }
        found[name] = rows
    return found


def diamond(folder: Path, total: int) -> dict[str, Any]:
    """The energy of diamond before and after three variants of it are learned."""
    everything, descriptor = known("C", folder, total), descriptor_of("C")
    potential = Tersoff().restricted(["C"])
    # Variants as published, and nearer ones.
    scales = {1.0: slice(0, 3), 0.1: slice(3, 6), 0.01: slice(6, 9)}
    variants = [
        atoms
        for scale in scales
        for atoms in single_environments(bulk("C"), descriptor, 3, seed=0, scale=scale)
    ]
    labels = single_points([*variants, bulk("C")], potential)
    assert everything.energies is not None
    mean = float(everything.energies.mean())
    extra = Environments.of(
        [*variants, bulk("C")], descriptor, energies=[label.energies for label in labels]
    )
    # The points may be environments of the variants too.
    features = kernel_features(joined(everything, extra.select(np.arange(3))))
    base, new = Part.of(features, everything, mean), Part.of(features, extra, mean)
    chosen = split(structures("C", folder, total).trajectories, len(base.energies) * 4 // 5)
    parts = [
        replace(base, means=base.means[own], energies=base.energies[own]) for own in chosen[:2]
    ]
    found: dict[str, Any] = {}
    for noise in (choose_noise(parts[0], parts[1]), 1e-3, 1e-2):
        rows: dict[str, Any] = {}
        for scale, own in {0.0: slice(0, 0), **scales}.items():
            means = np.concatenate([base.means, new.means[own]])
            energies = np.concatenate([base.energies, new.energies[own]])
            model = Linear.fit(means, energies, noise)
            rigidity = float(model.local(new.atoms[-1:])[0])
            rows[f"variants of size {scale:g}" if scale else "no variants"] = {
                "LPR of the variants": model.local(new.means[own]).tolist(),
                "error of diamond, meV/atom": 1e3
                * float(new.means[-1] @ model.weights - new.energies[-1]),
                "LPR": rigidity,
                "larger than of a fraction of all atoms": float(
                    np.mean(model.local(base.atoms) < rigidity)
                ),
            }
        found[f"noise {noise:g} eV/atom"] = rows
    return found


def network(folder: Path, total: int) -> dict[str, Any]:
    """The rigidity of a network against a committee, with and without activations (S20)."""
    whole = structures("C", folder, total)
    chosen = split(whole.trajectories, round(TRAIN * len(whole)))
    train, test = (
        environments(whole.select(chosen[place]), descriptor_of("C")) for place in (0, 2)
    )
    found: dict[str, Any] = {"epochs": EPOCHS, "members": 10}
    figure = Figure((9.0, 7.2), layout="constrained")
    for row, activation in zip(figure.subplots(2, 2), ("sigmoid", "identity"), strict=True):
        fitted = fit(train, test, activation, 10)
        regularizer = REGULARIZER * float(fitted.model.standard.width) ** 2
        own: dict[str, Any] = {
            "test RMSE, meV/atom": 1e3 * fitted.error,
            "training RMSE, meV/atom": 1e3 * fitted.learned,
        }
        kinds = {
            "all weights": fitted.model.all_features(),
            "last layer": fitted.model.last_features(),
        }
        for axis, (name, features) in zip(row, kinds.items(), strict=True):
            rigidity = rigidities(features, train, test, regularizer)
            line = linregress(np.log(rigidity), np.log(fitted.variance))
            own[f"Spearman of LPR and variance, {name}"] = float(
                spearmanr(rigidity, fitted.variance)[0]
            )
            own[f"slope, {name}"] = float(line.slope)
            axis.loglog(rigidity, fitted.variance, ".", markersize=1, alpha=0.3)
            axis.set(
                xlabel="LPR",
                ylabel="variance of 10 networks, eV$^2$",
                title=f"{activation}, {name}",
            )
            log_ticks(axis.xaxis)
            log_ticks(axis.yaxis)
        found[activation] = own
        print(activation, own, flush=True)
    save(figure, folder / "rigidity_network.png")
    return found


SECTIONS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "exact": exact,
    "silicon": partial(amorphous, "Si"),
    "carbon": partial(amorphous, "C"),
    "density": density,
    "diamond": diamond,
    "network": network,
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    parser.add_argument("--only", choices=SECTIONS, action="append")
    parser.add_argument("--structures", type=int, default=900, metavar="N")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    enable_compilation_cache()
    report: dict[str, Any] = {"versions": versions(), "device": device_name()}
    for name in arguments.only or SECTIONS:
        report[name] = SECTIONS[name](arguments.output, arguments.structures)
        print(name, report[name], flush=True)
        write_json(arguments.output / "rigidity.json", report)
        jax.clear_caches()


if __name__ == "__main__":
    main()

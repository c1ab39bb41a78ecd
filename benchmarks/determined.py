r"""How firmly fingerprints hold structures, and whether two structures share one.

    python benchmarks/determined.py presets --data DIR --targets 20
    python benchmarks/determined.py presets --data DIR --targets 4 --others 8
    python benchmarks/determined.py pairs --atoms 4-10 --starts 64

presets: true structures of the sets with each preset, and with its mean alone. Prints how many are
held to first order (no displacement without a change of the numbers), the medians of the smallest
singular value (1/Angstrom) and of the noise in the numbers that moves an atom by 0.1 Angstrom and,
with ``--others HOPS``, in how many a search of so many hops found another structure with the same
numbers.

pairs: two clusters of platinum with one fingerprint are looked for. Of both, x and y, all
coordinates are unknown; Levenberg-Marquardt makes

.. math:: |c(x) - c(y)|^2 + w^2 (D(x, y) - D)^2
    + w^2 \sum_{ij} [(d_{min} - d_{ij})_+^2 + (d_{ij} - d_{max})_+^2]

small, where D(x, y) is the root mean square difference of the distances between atoms of the same
numbers. All distances are within the cutoff: structures that differ by others alone have the same
numbers, and count as no pair. A pair counts if the mean absolute difference of the numbers is at
most 1e-10, and the RMSD of both, over all orders of the atoms and mirror images, more than 0.1
Angstrom. Prints for each fingerprint and number of atoms how many of the starts ended in a pair,
beside the numbers and the unknowns: 6 n - 12 coordinates of two clusters. With fewer numbers than
unknowns pairs are what one expects, with more only the fingerprint's own symmetries make them.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float
from recovery_sets import preset_with_changes, targets_of

from jaxrecon import Fingerprint, certificates, degenerate_structures, from_ase, rmsd
from jaxrecon.cli.arguments import parse_rows
from jaxrecon.datasets.clusters import relaxed
from jaxrecon.runtime.files import write_json

FREE = ("fung2022", "default", "soap", "universal", "default,poolings=mean", "soap,poolings=mean")
CRYSTALS = ("crystal", "soap", "universal", "crystal,poolings=mean", "soap,poolings=mean")
BY_SET = {"pt10_pbe1000": FREE, "qm7_500": FREE, "perov5_200": CRYSTALS, "mp_200": CRYSTALS}
"""Fingerprints of each set."""

PAIRED = (
    "default,poolings=mean",
    "default",
    "soap",
    "soap,n_max=6,l_max=4",
    "soap,n_max=8,l_max=6",
)
"""Fingerprints of which pairs are looked for."""

APART, NEAREST = 0.5, 2.3
"""Wanted difference of the distances in a pair, and smallest distance of two atoms, in Angstrom."""

FARTHEST = 0.8
"""Largest distance of two atoms, in units of the cutoff."""

WEIGHT = 1.0
"""Weight of all conditions, in 1/Angstrom."""

SAME, DIFFERENT = 1e-10, 0.1
"""Largest mean difference of the numbers of a pair, and its smallest RMSD in Angstrom."""

STEPS = 400
"""Levenberg-Marquardt steps from each start."""


def held(name: str, preset: str, data: Path, count: int, hops: int | None) -> dict[str, Any]:
    """How firmly a preset holds the structures of a set."""
    targets = targets_of(name, data, preset=preset, rows=None, count=count)
    found, others = [], 0
    for target in targets:
        assert target.truth is not None
        found += certificates(target.truth, target.fingerprint)
        if hops is not None:
            others += bool(degenerate_structures(target.truth, target.fingerprint, hops=hops))
    return {
        "set": name,
        "fingerprint": preset,
        "structures": len(found),
        "numbers": float(np.median([len(target.values) for target in targets])),
        "first order": float(np.mean([each.rank_deficiency == 0 for each in found])),
        "singular value": float(np.median([each.singular_value for each in found])),
        "noise": float(np.median([each.noise for each in found])),
        "with others": None if hops is None else others,
    }


def presets(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A line for each set and fingerprint."""
    if arguments.data is None:
        raise SystemExit("expected --data DIR with the sets, got none")
    rows = []
    for name in arguments.sets:
        for preset in BY_SET[name]:
            row = held(name, preset, arguments.data, arguments.targets, arguments.others)
            rows.append(row)
            others = "" if row["with others"] is None else f", {row['with others']} with others"
            print(
                f"{name:13s} {preset:24s} {row['numbers']:5.0f} numbers: {row['structures']} "
                f"structures, {100 * row['first order']:3.0f} % held to first order, smallest "
                f"singular value {row['singular value']:.1e}, noise {row['noise']:.1e}{others}",
                flush=True,
            )
    return rows


def conditions(both: Float[Array, "2 n 3"], farthest: float) -> Float[Array, " q"]:
    """How far the difference of the distances is from that wanted, and atoms too near or far."""
    i, j = np.triu_indices(both.shape[1], 1)
    distances = jnp.linalg.norm(both[:, i] - both[:, j], axis=-1)
    difference = ((distances[0] - distances[1]) ** 2).mean() ** 0.5
    near, far = (jnp.maximum(x, 0.0).ravel() for x in (NEAREST - distances, distances - farthest))
    return WEIGHT * jnp.concatenate([(difference - APART)[None], near, far])


def equations(
    flat: Float[Array, " u"], fingerprint: Fingerprint, cluster: Atoms
) -> tuple[Float[Array, " q"], Float[Array, "q u"]]:
    """What has to be 0 for a pair, the differences of the numbers first, and its derivatives."""
    both = flat.reshape(2, len(cluster), 3)
    (first, by_first), (second, by_second) = (
        fingerprint.with_jacobian(replace(from_ase(cluster), positions=each)) for each in both
    )
    farthest = FARTHEST * fingerprint.descriptor.r_cut
    others = jax.jacfwd(lambda z: conditions(z.reshape(both.shape), farthest))(flat)
    value = jnp.concatenate([first - second, conditions(both, farthest)])
    by_both = jnp.stack([by_first, -by_second], axis=1).reshape(len(first), -1)
    return value, jnp.concatenate([by_both, others])


def descend(
    function: Callable[[Array], tuple[Array, Array]], start: Float[Array, " u"]
) -> Float[Array, " u"]:
    """Levenberg-Marquardt with Nielsen's damping; a step that does not descend is not taken."""

    def step(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        here, damping, factor = state
        value, jacobian = function(here)
        normal, slope = jacobian.T @ jacobian, jacobian.T @ value
        move = jnp.linalg.solve(normal + damping * jnp.eye(len(here)), -slope)
        lower = (value**2).sum() - (function(here + move)[0] ** 2).sum()
        ratio = lower / (move @ (damping * move - slope))
        taken = ratio > 0.0
        eased = damping * jnp.maximum(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3)
        return (
            jnp.where(taken, here + move, here),
            jnp.maximum(jnp.where(taken, eased, damping * factor), 1e-14),
            jnp.where(taken, 2.0, 2.0 * factor),
        )

    return jax.lax.fori_loop(0, STEPS, step, (start, jnp.array(1e-3), jnp.array(2.0)))[0]


def pairs_of(preset: str, size: int, starts: int) -> dict[str, Any]:
    """Look for pairs of clusters of one size with one fingerprint."""
    fingerprint = preset_with_changes(preset, ["Pt"])
    begun, random = time.perf_counter(), np.random.default_rng(size)
    clusters = [relaxed(f"Pt{size}", seed, steps=30) for seed in range(starts)]
    first = np.stack([atoms.positions for atoms in clusters])
    second = first + 0.4 * random.normal(size=first.shape)
    with jax.enable_x64(True):
        function = partial(equations, fingerprint=fingerprint, cluster=clusters[0])

        def found_from(start: Float[Array, " u"]) -> tuple[Array, Array]:
            found = descend(function, start)
            numbers = function(found)[0][: fingerprint.size]
            return found.reshape(2, size, 3), jnp.abs(numbers).mean()

        begin = np.stack([first, second], axis=1).reshape(starts, -1)
        found, differences = jax.device_get(jax.jit(jax.vmap(found_from))(begin))
    symbols = clusters[0].get_chemical_symbols()
    apart = np.array([rmsd(Atoms(symbols, x), Atoms(symbols, y)) for x, y in found])
    i, j = np.triu_indices(size, 1)
    largest = np.linalg.norm(found[:, :, i] - found[:, :, j], axis=-1).max(axis=(1, 2))
    inside = largest < fingerprint.descriptor.r_cut
    pair = (differences <= SAME) & (apart > DIFFERENT) & inside
    different = differences[(apart > DIFFERENT) & inside]
    return {
        "fingerprint": preset,
        "atoms": size,
        "numbers": fingerprint.size,
        "unknowns": 6 * size - 12,
        "starts": starts,
        "pairs": int(pair.sum()),
        "smallest difference": float(different.min()) if len(different) else None,
        "apart": float(apart[pair].max()) if pair.any() else None,
        "seconds": time.perf_counter() - begun,
        "positions": found[pair][:1].tolist(),
    }


def pairs(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A line for each fingerprint and number of atoms."""
    rows = []
    for preset in arguments.fingerprints or PAIRED:
        for size in parse_rows(arguments.atoms, 100):
            row = pairs_of(preset, size, arguments.starts)
            rows.append(row)
            apart = "" if row["apart"] is None else f", up to {row['apart']:.2f} A apart"
            least = row["smallest difference"]
            print(
                f"{preset:24s} {size:2d} atoms, {row['numbers']:3d} numbers for "
                f"{row['unknowns']:2d} unknowns: {row['pairs']} of {row['starts']} starts end in a "
                f"pair{apart}; smallest mean difference "
                f"{'none' if least is None else format(least, '.1e')} "
                f"({row['seconds']:.0f} s)",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("section", choices=("presets", "pairs"))
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the files")
    parser.add_argument("--sets", nargs="+", choices=BY_SET, default=tuple(BY_SET))
    parser.add_argument("--targets", type=int, default=20, metavar="K", help="evenly spaced rows")
    parser.add_argument("--others", type=int, metavar="HOPS", help="search for other structures")
    parser.add_argument("--atoms", default="4-10", help="sizes of the clusters of pairs")
    parser.add_argument("--starts", type=int, default=64, help="of pairs, for each size")
    parser.add_argument("--fingerprints", nargs="+", metavar="NAME", help="of pairs")
    parser.add_argument("--output", "-o", type=Path, help="folder for the numbers")
    arguments = parser.parse_args()
    rows = presets(arguments) if arguments.section == "presets" else pairs(arguments)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        write_json(arguments.output / f"determined_{arguments.section}.json", rows)


if __name__ == "__main__":
    main()

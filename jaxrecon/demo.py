"""The demonstration: structures to fingerprints and back, in under a minute and a half."""

import time
from pathlib import Path

from ase import Atoms

from jaxrecon import matching
from jaxrecon.batching import featurize
from jaxrecon.compositions import elements_of
from jaxrecon.config import ReconstructConfig
from jaxrecon.datasets import clusters, io, prototypes
from jaxrecon.fingerprint import Fingerprint
from jaxrecon.inverse import reconstruct
from jaxrecon.plotting import Pair, side_by_side
from jaxrecon.results import Reconstruction

FILES = ("truth.extxyz", "reconstruction.extxyz", "demo.json", "demo.png")


def run(directory: Path, *, seed: int = 0, force: bool = False, progress: bool = True) -> None:
    """Reconstruct three prototypes and a relaxed Pt10 cluster from their fingerprints alone.

    Prints residual and RMSD of each and writes the structures, a picture of truth beside
    reconstruction and the numbers into the directory.

    Raises:
        FileExistsError: if a file is there already and ``force`` is not set.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / name for name in FILES]
    for path in paths:
        io.check_output(path, force)

    started = time.perf_counter()
    print("structure                      atoms  numbers  residual    RMSD/A  hops     s")
    pairs, runs = [], {}
    for name, truth in _examples(seed).items():
        outcome = _there_and_back(truth, seed, progress)
        found = outcome[0]
        pair = Pair(name, truth, found.atoms, found.residual, matching.rmsd(truth, found.atoms))
        print(
            f"{name:<30} {len(truth):>5} {outcome.fingerprints[0].size:>8}  {pair.residual:>8.1e}  "
            f"{pair.rmsd:>8.1e} {found.hops:>5} {outcome.seconds:>5.1f}",
            flush=True,
        )
        pairs.append(pair)
        runs[name] = {"rmsd": pair.rmsd, **outcome.to_dict()}

    truth_path, found_path, numbers_path, picture_path = paths
    io.write_structures(truth_path, [pair.truth for pair in pairs])
    io.write_structures(found_path, [pair.found for pair in pairs])
    io.write_json(numbers_path, runs)
    side_by_side(pairs, picture_path)
    print(f"{time.perf_counter() - started:.0f} s; look at {picture_path}")


def _examples(seed: int) -> dict[str, Atoms]:
    names = ("icosahedron", "decagon", "methylammonium_lead_bromide")
    return {
        **{name: prototypes.load(name) for name in names},
        "relaxed Pt10 (EMT)": clusters.relaxed("Pt10", seed),
    }


def _there_and_back(truth: Atoms, seed: int, progress: bool) -> Reconstruction:
    """The fingerprint of a structure, and what is recovered from it, its formula and its cell."""
    periodic = bool(truth.pbc.all())
    fingerprint = Fingerprint.preset("crystal" if periodic else "fung2022", elements_of([truth]))
    return reconstruct(
        featurize(truth, fingerprint),
        fingerprint,
        symbols=truth.get_chemical_formula(),
        cell=truth.cell.array if periodic else None,
        config=ReconstructConfig(replicas=16 if periodic else 64),
        seed=seed,
        progress=progress,
    )

"""Clusters of several metals and sizes, for energies that no learned cluster of the size has."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from jaxrecon.datasets.build import build
from jaxrecon.datasets.io import read_labelled, write_labelled
from jaxrecon.datasets.labelled import LabelledSet, joined
from jaxrecon.models.design_model import DesignModel
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore

SIZES = range(6, 15)
"""Numbers of atoms of the clusters of platinum."""

ALLOYS, ALLOY_SIZES = ("Cu", "Ni"), range(8, 13)
"""What platinum is mixed with, a quarter, a half and three quarters of it, and numbers of atoms."""

STEPS, PERTURBED = 60, 0.5
"""Steps of a relaxation, and the part of the set that is perturbed copies."""

ASKED = (("Pt", 8), ("Pt", 11), ("Pt", 14), ("Cu,Pt", 9), ("Cu,Pt", 12), ("Ni,Pt", 10))
"""Elements and numbers of atoms for which structures are made."""

UNSEEN = 0.15
"""No structure of the size is learned whose energy is so near to what is asked for, in eV/atom."""

NEAR = 0.1
"""Largest difference of a formation energy from the wanted one in eV/atom."""


def formulas() -> list[str]:
    """All compositions of the set."""
    mixed = [
        f"{metal}{share}Pt{n - share}"
        for metal in ALLOYS
        for n in ALLOY_SIZES
        for share in sorted({round(n / 4), n // 2, n - round(n / 4)})
    ]
    return [f"Pt{n}" for n in SIZES] + mixed


def dataset(output: Path, calculator: str, each: int, seed: int) -> LabelledSet:
    """The labelled clusters, from the file of an earlier run where there is one."""
    file = output / "clusters_learned.extxyz"
    if not file.exists():
        folder = output / "clusters_learned"
        folder.mkdir(exist_ok=True)
        options: Any = {"steps": STEPS, "perturbed": PERTURBED, "seed": seed, "progress": True}
        parts: dict[str, LabelledSet] = {}
        for formula in formulas():
            store = LabelStore(folder / f"{formula}.db", resume=True)
            parts[formula] = build(formula, each, calculator=calculator, store=store, **options)
        write_labelled(file, joined(parts))
    return read_labelled(file)


def asked(whole: LabelledSet) -> tuple[dict[tuple[str, int], float], np.ndarray]:
    """What is asked for, the median energy of each kind, and which structures may be learned.

    Those of as many atoms that have nearly an energy that is asked for may not, of any elements.
    """
    assert whole.structures is not None, "the set has structures"
    sizes = np.array([len(atoms) for atoms in whole.structures])
    kinds = np.array([",".join(sorted(set(atoms.symbols))) for atoms in whole.structures])
    energies = whole.formation_energies
    wanted = {
        (elements, n): float(np.median(energies[(kinds == elements) & (sizes == n)]))
        for elements, n in ASKED
    }
    near = [(sizes == n) & (np.abs(energies - e) < UNSEEN) for (_, n), e in wanted.items()]
    return wanted, np.flatnonzero(~np.any(near, axis=0))


def hits(
    model: DesignModel, made: Any, wanted: dict[tuple[str, int], float], args: argparse.Namespace
) -> dict[str, Any]:
    """Make clusters for what is asked for, and judge them as they are."""
    results: dict[str, Any] = {"mae": model.validation["mae"]}
    for (elements, n), target in wanted.items():
        name = f"clusters_{elements.replace(',', '')}_{n}"
        options = {"elements": elements.split(","), "atoms": n}
        found = made(args.output, name, model, target, args.each, args, **options)
        store = LabelStore(args.output / f"{name}_judged.db", resume=True)
        judged = judge(list(found), args.calculator, jobs=1, store=store)
        energies = np.array([atoms.info.get("e_form", np.nan) for atoms in judged])
        near = np.abs(energies - target) <= NEAR
        accepted = np.array([bool(atoms.info["accepted"]) for atoms in found])
        results[name] = {
            **found.summary,
            "target": target,
            "seconds": found.metadata["seconds"],
            "accepted": float(accepted.mean()),
            "judged_near": float(near.mean()),
            "judged_near_of_accepted": float(near[accepted].mean()) if accepted.any() else None,
            "judged_mean_miss": float(np.nanmean(np.abs(energies - target))),
        }
        print(name, results[name], flush=True)
    return results

"""The benchmark of generated clusters: what it learns from, and what it must not have seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
from ase import Atoms
from ase.formula import Formula
from recovering import module

from jaxrecon.datasets.labelled import LabelledSet

bench = module("generator_clusters")


def test_the_compositions() -> None:
    counts = [Formula(formula).count() for formula in bench.formulas()]
    kinds = Counter(",".join(sorted(each)) for each in counts)
    assert kinds == {"Pt": 9, "Cu,Pt": 15, "Ni,Pt": 15}
    assert {sum(each.values()) for each in counts if len(each) > 1} == {8, 9, 10, 11, 12}
    assert all(each["Pt"] > 0 for each in counts)
    asked = {(",".join(sorted(each)), sum(each.values())) for each in counts}
    assert set(bench.ASKED) <= asked


def test_no_cluster_of_the_size_has_nearly_what_is_asked_for() -> None:
    formulas = bench.formulas()
    structures = [Atoms(formula) for formula in formulas for _ in range(41)]
    energies = np.tile(np.linspace(1.0, 3.0, 41), len(formulas))
    whole = LabelledSet.of(structures, formation_energies=energies)
    wanted, learnable = bench.asked(whole)
    assert set(wanted) == set(bench.ASKED)
    assert set(wanted.values()) == {2.0}
    sizes = np.array([len(atoms) for atoms in structures])
    asked = np.isin(sizes, [n for _, n in bench.ASKED])
    left = np.isin(np.arange(len(whole)), learnable)
    assert np.abs(energies[left & asked] - 2.0).min() >= bench.UNSEEN
    # Everything else may be learned.
    assert left[~asked].all()
    assert left[asked & (np.abs(energies - 2.0) > bench.UNSEEN + 1e-9)].all()

"""Rows of unusual environments: singular geometries, padding, elements without a channel."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from ase import Atoms
from reference import acsf_rows
from rows import PADDED, PLAIN, SETS, SHIFTED, WEIGHTED, derivatives, in_both_precisions, rows
from strategies import random_cluster

from jaxrecon.structures.neighbors import neighbors
from jaxrecon.structures.structure import Structure, from_ase

R_CUT = PLAIN.r_cut
DEGENERATE = {
    "alone": [(1, 2, 3)],
    "pair": [(0, 0, 0), (1.5, 0, 0)],
    "coincident pair": [(1, 1, 1), (1, 1, 1)],
    "coincident pair and a third": [(0, 0, 0), (0, 0, 0), (1.5, 0.5, 0)],
    "all coincident": [(0, 0, 0)] * 4,
    "nearly coincident": [(0, 0, 0), (1e-5, 0, 0), (2, 0, 1)],
    "collinear": [(-1.5, 0, 0), (0, 0, 0), (1.5, 0, 0), (4, 0, 0)],
    "slanted line": [(0, 0, 0), (0.7, 0.7, 0.7), (2.1, 2.1, 2.1)],
    "right angle": [(0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 0, 2)],
    "beyond the cutoff": [(0, 0, 0), (2, 0, 0), (R_CUT + 3, 1, 0)],
    "at the cutoff": [(0, 0, 0), (R_CUT, 0, 0), (0, 2, 0)],
    "third side at the cutoff": [(0, 0, 0), (R_CUT / 2, 0, 0), (-R_CUT / 2, 0, 0)],
    "next to the cutoff": [(0, 0, 0), (R_CUT - 1e-6, 0, 0), (R_CUT + 1e-6, 2e-7, 0)],
    "far away": [(0, 0, 0), (1e4, 0, 0)],
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["shifted", "weighted"])
def test_degenerate_structures(name: str, dtype: str) -> None:
    """Values are those of the formulas; all derivatives are finite and equal by all methods.

    A vector of length 0 counts as perpendicular to all others.
    """
    config, tight = SETS[name], dtype == "float64"
    for case, positions in DEGENERATE.items():
        atoms = Atoms(["Pt", "O", "Pt", "H"][: len(positions)], np.array(positions, float))
        n, expected = len(atoms), acsf_rows(config, atoms)
        with jax.enable_x64(tight):
            found = derivatives(config, neighbors(from_ase(atoms, size=4)))
        value, closed, again, forward, backward = map(np.asarray, found)
        assert value.dtype == closed.dtype == dtype
        assert all(np.isfinite(array).all() for array in (closed, forward, backward)), case
        scale = np.abs(expected).max(initial=1.0)
        for values in (value, again):
            np.testing.assert_allclose(
                values[:n], expected, rtol=0, atol=scale * (1e-11 if tight else 1e-5), err_msg=case
            )
        # An angle at 1e-5 Angstrom has the derivative 1e5 / Angstrom: round-off is relative to it.
        off = np.abs(closed).max(initial=scale) * (1e-11 if tight else 2e-4)
        np.testing.assert_allclose(closed, forward, rtol=0, atol=off, err_msg=case)
        off *= config.size
        np.testing.assert_allclose(closed.sum(axis=1), backward, rtol=0, atol=off, err_msg=case)
        assert not closed[n:].any()
        assert not closed[:, :, n:].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_atom_at_the_cutoff_is_no_neighbour(dtype: str) -> None:
    atoms = Atoms("OPt", [(0, 0, 0), (R_CUT, 0, 0)])
    with jax.enable_x64(dtype == "float64"):
        found = derivatives(SHIFTED, neighbors(from_ase(atoms, size=4)))
    assert not any(np.asarray(array).any() for array in found)


def test_one_atom_without_padding() -> None:
    for full in (SHIFTED, WEIGHTED):
        config = replace(full, g4_zeta=(1,), g4_lam=(1,), g5_zeta=())
        found = derivatives(config, neighbors(from_ase(Atoms("Pt", [(1, 2, 3)]))))
        assert [array.shape[:2] for array in found[:4]] == [(1, config.size)] * 4
        assert not any(np.asarray(array).any() for array in found)


@pytest.mark.parametrize("name", ["plain", "weighted"])
def test_padding_may_hold_anything(name: str) -> None:
    atoms = random_cluster(0, 3)
    clean = from_ase(atoms, size=PADDED)
    noise = np.random.default_rng(0).normal(size=(PADDED - 3, 3))
    dirty = Structure(
        positions=clean.positions.at[3:].set(noise),
        species=clean.species.at[3:].set(78),
        mask=clean.mask,
    )
    values = [np.asarray(rows(SETS[name], structure))[:3] for structure in (clean, dirty)]
    assert values[0].any()
    np.testing.assert_array_equal(*values)


def test_elements_without_a_channel_are_ignored() -> None:
    for config in (replace(SHIFTED, elements=("O",)), replace(WEIGHTED, elements=("O",))):
        atoms = Atoms("OHO", [(0, 0, 0), (1, 0, 0), (0, 2, 0)])
        in_both_precisions(config, atoms, acsf_rows(config, atoms))

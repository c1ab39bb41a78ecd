"""The symmetry functions as the formulas read: loops over atoms, NumPy, float64."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms

from jaxrecon import ACSF


def displacements(atoms: Atoms) -> np.ndarray:
    """Vectors from atom i to atom j, shape ``(n, n, 3)``; in a cell, fractions wrapped."""
    vectors = atoms.positions[None, :, :] - atoms.positions[:, None, :]
    if atoms.pbc.any():
        fractions = np.linalg.solve(atoms.cell.array.T, vectors.reshape(-1, 3).T).T
        vectors = ((fractions - np.floor(fractions + 0.5)) @ atoms.cell.array).reshape(
            vectors.shape
        )
    return vectors


def acsf_rows(p: ACSF, atoms: Atoms) -> np.ndarray:
    """One row an atom. Of ``p`` only the numbers are used."""
    d, elements = displacements(atoms), [p.elements.index(symbol) for symbol in atoms.symbols]
    eta, r_s = np.array(p.g2_eta)[:, None], np.array(p.g2_r_s)[None, :]
    zeta, lam = np.array(p.g5_zeta)[:, None, None], np.array(p.g5_lam)[None, :, None]
    eta5, pairs = np.array(p.g5_eta), list(combinations_with_replacement(range(len(p.elements)), 2))
    g2 = np.zeros((len(atoms), len(p.elements), len(p.g2_eta), len(p.g2_r_s)))
    g5 = np.zeros((len(atoms), len(pairs), len(p.g5_zeta), len(p.g5_lam), len(p.g5_eta)))
    r = np.sqrt((d**2).sum(-1))
    fc = np.where(r < p.r_cut, 0.5 * (np.cos(np.pi * r / p.r_cut) + 1), 0)
    for i in range(len(atoms)):
        others = [j for j in range(len(atoms)) if j != i]
        for j in others:
            g2[i, elements[j]] += np.exp(-eta * (r[i, j] - r_s) ** 2) * fc[i, j]
            for k in [k for k in others if k > j]:
                # The angle at a pair of coincident atoms counts as a right one.
                length = r[i, j] * r[i, k]
                cosine = d[i, j] @ d[i, k] / length if length else 0.0
                angular = 2 ** (1 - zeta) * np.maximum(1 + lam * cosine, 0) ** zeta
                radial = np.exp(-eta5 * (r[i, j] ** 2 + r[i, k] ** 2)) * fc[i, j] * fc[i, k]
                g5[i, pairs.index(tuple(sorted((elements[j], elements[k]))))] += angular * radial
    return np.concatenate([g2.reshape(len(atoms), -1), g5.reshape(len(atoms), -1)], axis=1)

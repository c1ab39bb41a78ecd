"""Symmetry functions by loops over the formulas in NumPy; and those of DScribe, in our order."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement

import numpy as np
from ase import Atoms
from dscribe import descriptors as dscribe

from jaxrecon import ACSF


def displacements(atoms: Atoms) -> np.ndarray:
    """Vectors from atom i to atom j, shape ``(n, n, 3)``; the minimum image in a cell."""
    vectors = atoms.positions[None, :, :] - atoms.positions[:, None, :]
    if atoms.pbc.any():
        cell = atoms.cell.complete().array
        fractions = np.linalg.solve(cell.T, vectors.reshape(-1, 3).T).T
        cells = np.where(atoms.pbc, np.floor(fractions + 0.5), 0.0)
        vectors = vectors - (cells @ cell).reshape(vectors.shape)
    return vectors


def cutoff(p: ACSF, r: float) -> float:
    if r >= p.r_cut:
        return 0.0
    if p.cutoff == "cosine":
        return 0.5 * (np.cos(np.pi * r / p.r_cut) + 1.0)
    return np.tanh(1.0 - r / p.r_cut) ** 3


def two_body(p: ACSF, r: float) -> np.ndarray:
    """What one neighbour adds to G1, G2 and G3."""
    terms = [1.0] if p.g1 else []
    terms += [np.exp(-eta * (r - r_s) ** 2) for eta in p.g2_eta for r_s in p.g2_r_s]
    terms += [np.cos(kappa * r) for kappa in p.g3_kappa]
    return np.array(terms) * cutoff(p, r)


def three_body(p: ACSF, d_j: np.ndarray, d_k: np.ndarray) -> np.ndarray:
    """What one pair of neighbours adds to G4 and G5."""
    r_j, r_k, r_jk = (np.linalg.norm(d) for d in (d_j, d_k, d_j - d_k))
    # A vector of length 0 counts as perpendicular to all others.
    cosine = d_j @ d_k / (r_j * r_k) if r_j * r_k else 0.0
    terms = []
    for zeta, lam, etas, centres, sides in [
        (p.g4_zeta, p.g4_lam, p.g4_eta, p.g4_r_s, (r_j, r_k, r_jk)),
        (p.g5_zeta, p.g5_lam, p.g5_eta, p.g5_r_s, (r_j, r_k)),
    ]:
        z, sign = np.array(zeta)[:, None], np.array(lam)[None, :]
        angular = 2.0 ** (1.0 - z) * np.maximum(1.0 + sign * cosine, 0.0) ** z
        eta, r_s = np.array(etas)[:, None], np.array(centres)[None, :]
        radial = np.exp(-eta * sum((r - r_s) ** 2 for r in sides))
        radial *= np.prod([cutoff(p, r) for r in sides])
        terms.append(np.multiply.outer(angular, radial).ravel())
    return np.concatenate(terms)


def acsf_rows(p: ACSF, atoms: Atoms) -> np.ndarray:
    """One row for each atom, from the parameters in ``p``; other elements are ignored."""
    d, symbols = displacements(atoms), atoms.symbols
    channels = ["Z"] if p.weighted else list(p.elements)
    pairs = list(combinations_with_replacement(range(len(channels)), 2))
    nothing = np.zeros(3)
    two = np.zeros((len(atoms), len(channels), len(two_body(p, 1.0))))
    three = np.zeros((len(atoms), len(pairs), len(three_body(p, nothing, nothing))))
    counted = [j for j in range(len(atoms)) if symbols[j] in p.elements]
    channel = {j: 0 if p.weighted else channels.index(symbols[j]) for j in counted}
    weight = {j: float(atoms.numbers[j]) if p.weighted else 1.0 for j in counted}
    for i in range(len(atoms)):
        near = [j for j in counted if j != i and np.linalg.norm(d[i, j]) < p.r_cut]
        for j in near:
            two[i, channel[j]] += weight[j] * two_body(p, np.linalg.norm(d[i, j]))
        for j, k in combinations(near, 2):
            pair = pairs.index(tuple(sorted((channel[j], channel[k]))))
            three[i, pair] += weight[j] * weight[k] * three_body(p, d[i, j], d[i, k])
    return np.concatenate([two.reshape(len(atoms), -1), three.reshape(len(atoms), -1)], axis=1)


def dscribe_rows(p: ACSF, atoms: Atoms) -> np.ndarray:
    """Rows by DScribe: all images of a crystal, cosine cutoff, no weights, no shifts of G4 and G5.

    DScribe always has G1. Its pairs of channels are ordered (0, 0), (1, 0), (1, 1), (2, 0), ...,
    with G4 before G5 in each.
    """
    assert p.cutoff == "cosine"
    assert not p.weighted
    assert not any((*p.g4_r_s, *p.g5_r_s))
    oracle = dscribe.ACSF(
        r_cut=p.r_cut,
        g2_params=[(eta, r_s) for eta in p.g2_eta for r_s in p.g2_r_s] or None,
        g3_params=list(p.g3_kappa) or None,
        g4_params=[(eta, z, lam) for z in p.g4_zeta for lam in p.g4_lam for eta in p.g4_eta]
        or None,
        g5_params=[(eta, z, lam) for z in p.g5_zeta for lam in p.g5_lam for eta in p.g5_eta]
        or None,
        species=p.elements,
        periodic=bool(atoms.pbc.all()),
    )
    values = oracle.create(atoms, centers=list(range(len(atoms))))
    count, n = len(p.elements), len(atoms)
    radial = 1 + len(p.g2_eta) * len(p.g2_r_s) + len(p.g3_kappa)
    two = values[:, : count * radial].reshape(n, count, radial)[:, :, 0 if p.g1 else 1 :]
    three = values[:, count * radial :].reshape(n, count * (count + 1) // 2, -1)
    pairs = [b * (b + 1) // 2 + a for a, b in combinations_with_replacement(range(count), 2)]
    return np.concatenate([two.reshape(n, -1), three[:, pairs].reshape(n, -1)], axis=1)

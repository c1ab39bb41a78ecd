"""The expected volume of an unknown cell, from features that count distant neighbours."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.structures.packing import compact_volume

FAR = 0.5
"""Distance from which on atoms are taken to be spread evenly, in units of the cutoff."""


def expected_volume(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint, symbols: Sequence[str]
) -> float:
    r"""Estimate the volume of a cell from the mean number of distant neighbours.

    In a medium of evenly spread atoms of density :math:`\rho_b`, the mean of a radial feature that
    counts element b, or all elements, is :math:`\rho_b \int 4 \pi r^2 g(r) dr`, with g as in
    :class:`~jaxrecon.descriptors.feature.Feature`. The density is the least-squares fit to the
    means of all features that peak beyond :data:`FAR` of the cutoff.

    Args:
        target: the fingerprint, without a unit.
        fingerprint: the settings that it was made with.
        symbols: chemical symbols of all atoms in the cell.

    Returns:
        The volume in Angstrom^3; that of a compact packing of covalent spheres if the fingerprint
        has no such features.
    """
    features = fingerprint.descriptor.features
    radius = np.linspace(0.0, fingerprint.descriptor.r_cut, 2001)
    shell = 4.0 * np.pi * radius**2
    expected, found = [], []
    # Functions of one element count its part of the density, those of all elements all of it.
    parts: dict[tuple[str, ...], float] = {(): 1.0}
    for symbol in sorted(set(symbols)):
        parts[symbol,] = list(symbols).count(symbol) / len(symbols)
    for counted, fraction in parts.items():
        for index, number in enumerate(fingerprint.features):
            feature = features[number.feature]
            # Take means over the atoms of any element, of features that count distant atoms of this
            # one, or of all.
            if number.pooling != "mean" or feature.radial is None:
                continue
            if feature.neighbors != counted or feature.peak < FAR * radius[-1]:
                continue
            if target[index] > 0.0:
                integral = float(np.trapezoid(shell * feature.radial(radius), radius))
                expected.append(fraction * integral)
                found.append(target[index])
    if not found:
        return compact_volume(symbols)
    density = np.dot(expected, found) / np.dot(expected, expected)
    return float(len(symbols) / density)

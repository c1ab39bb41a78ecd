"""How large an unknown cell is, from the fingerprint: far features count atoms in a volume."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.structures.packing import compact_volume

FAR = 0.5
"""Part of the cutoff from where on atoms count as spread evenly."""


def expected_volume(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint, symbols: Sequence[str]
) -> float:
    r"""Volume of the cell in Angstrom^3, about.

    In a medium of evenly spread atoms of density :math:`\rho_b` the mean of a two-body function is
    :math:`\rho_b \int 4 \pi r^2 e^{-\eta (r - r_s)^2} f_c(r) dr`. The density is that which fits
    the means with :math:`r_s` in the farther half of the cutoff best; without any, that of a
    compact packing of covalent spheres.

    Args:
        target: the fingerprint, without a unit.
        fingerprint: what it was made with.
        symbols: of all atoms in the cell.
    """
    features = fingerprint.descriptor.features
    radius = np.linspace(0.0, fingerprint.descriptor.r_cut, 2001)
    shell = 4.0 * np.pi * radius**2
    expected, found = [], []
    for symbol in sorted(set(symbols)):
        fraction = list(symbols).count(symbol) / len(symbols)
        for index, number in enumerate(fingerprint.numbers):
            feature = features[number.feature]
            # Means over the atoms of any element, of radial features that count this one far away.
            if number.pooling != "mean" or feature.radial is None:
                continue
            if feature.neighbors != (symbol,) or feature.peak < FAR * radius[-1]:
                continue
            if target[index] > 0.0:
                integral = float(np.trapezoid(shell * feature.radial(radius), radius))
                expected.append(fraction * integral)
                found.append(target[index])
    if not found:
        return compact_volume(symbols)
    density = np.dot(expected, found) / np.dot(expected, expected)
    return float(len(symbols) / density)

"""How large an unknown cell is, from the fingerprint: far features count atoms in a volume."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float

from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.initialize import PACKING

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
    descriptor = fingerprint.descriptor
    radius = np.linspace(0.0, descriptor.r_cut, 2001)
    shell = 4.0 * np.pi * radius**2
    shell *= np.asarray(CUTOFFS[descriptor.cutoff](jnp.asarray(radius), descriptor.r_cut)[0])
    expected, found = [], []
    for symbol in sorted(set(symbols)):
        share = list(symbols).count(symbol) / len(symbols)
        # A weighted function has no element in its name: nothing is found.
        for index in fingerprint.find(f"mean* G2[{symbol}]"):
            words = fingerprint.names[index].split()
            eta, r_s = (float(word.partition("=")[2]) for word in words[-2:])
            if r_s >= FAR * descriptor.r_cut and target[index] > 0.0:
                gaussian = np.exp(-eta * (radius - r_s) ** 2)
                expected.append(share * float(np.trapezoid(shell * gaussian, radius)))
                found.append(target[index])
    if not found:
        radii = covalent_radii[[atomic_numbers[symbol] for symbol in symbols]]
        return float(np.sum(4.0 / 3.0 * np.pi * radii**3) / PACKING)
    density = np.dot(expected, found) / np.dot(expected, expected)
    return float(len(symbols) / density)

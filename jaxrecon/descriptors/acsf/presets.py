"""Presets: published and proven sets of symmetry functions, by name."""

import math
from collections.abc import Iterable

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from jaxrecon.descriptors.acsf.acsf import ACSF
from jaxrecon.descriptors.preset import Preset


def fung2022(elements: Iterable[str]) -> ACSF:
    """The functions of Fung et al., arXiv 2207.13227: G2 and G5 within 20 Angstrom.

    Args:
        elements: chemical symbols.

    Returns:
        190 functions for one element.
    """
    return ACSF(elements=tuple(elements))


def default(elements: Iterable[str], r_cut: float = 12.0) -> ACSF:
    r"""Broad functions for inversion from means and variances: one G2 per Angstrom, twelve G5.

    Each Gaussian is wide enough (:math:`\eta = 0.5` per Angstrom squared) to overlap with the next
    one, so that the fingerprint changes with the position of an atom wherever the atom is. Sharper
    Gaussians give a search many more local minima. Two widths of G5 instead of one are needed for
    the hardest targets, and the highest exponent for large molecules of few elements: with 1, 2 and
    4 twelve of 17 hydrocarbons of 20 to 30 atoms are found, where nearly all are with 1, 4 and 16.
    A fingerprint needs more numbers than the structure has unknowns, 3 for each atom: more than 17
    atoms of one element have more, see :func:`cluster`.

    Args:
        elements: chemical symbols.
        r_cut: cutoff in Angstrom, at least 2. The distance between two atoms that are farther apart
            than this does not change the fingerprint.

    Returns:
        The functions: 23 for one element at 12 Angstrom.

    Raises:
        ValueError: if the cutoff is below 2 Angstrom.
    """
    return _broad(elements, r_cut, (1, 4, 16), (0.02, 0.1))


def cluster(elements: Iterable[str], r_cut: float = 12.0) -> ACSF:
    """The functions of :func:`default` with 30 G5 in place of 12, for many atoms of one element.

    The additional ones are three-body functions, and as broad: sharper Gaussians of distances, or
    third moments, make a search longer, or fail.

    Args:
        elements: chemical symbols.
        r_cut: cutoff in Angstrom, at least 2.

    Returns:
        The functions: 41 for one element at 12 Angstrom.

    Raises:
        ValueError: if the cutoff is below 2 Angstrom.
    """
    return _broad(elements, r_cut, (1, 2, 4, 8, 16), (0.02, 0.06, 0.2))


def crystal(elements: Iterable[str], r_cut: float = 6.0) -> ACSF:
    """As many functions as :func:`default` within 6 Angstrom, for sums over all periodic images.

    Their exponents are 1, 2 and 4. Of 24 spread crystals of the Materials Project a descent from
    random positions leads to the structure in 41 % of the tries, with 1, 4 and 16 in 25 %. And low
    exponents need no pairs of neighbours, of which a dense crystal has many
    (:mod:`~jaxrecon.descriptors.acsf.density`).

    Args:
        elements: chemical symbols.
        r_cut: cutoff in Angstrom, at least 2.

    Returns:
        The functions: 17 for one element.

    Raises:
        ValueError: if the cutoff is below 2 Angstrom.
    """
    return _broad(elements, r_cut, (1, 2, 4), (0.02, 0.1))


def _broad(
    elements: Iterable[str], r_cut: float, zeta: tuple[int, ...], eta: tuple[float, ...]
) -> ACSF:
    """One G2 per Angstrom, and G5 with these exponents of the angle and of the distances."""
    if not r_cut >= 2.0:
        raise ValueError(f"expected r_cut >= 2 Angstrom, got {r_cut}")
    return ACSF(
        elements=tuple(elements),
        r_cut=r_cut,
        g2_eta=(0.5,),
        g2_r_s=tuple(range(1, math.ceil(r_cut))),
        g5_zeta=zeta,
        g5_eta=eta,
    )


def gastegger2018(
    elements: Iterable[str],
    r_cut: float = 8.0,
    *,
    radial: int = 22,
    angular: int = 5,
    zeta: tuple[float, ...] = (1,),
    centered: bool = False,
    weighted: bool = True,
) -> ACSF:
    r"""The functions of the wACSF paper: G2 and G4 on grids of auxiliary radii.

    The auxiliary radii :math:`R_1 \dots R_N` are equidistant up to :math:`r_c - 0.5` Angstrom.
    *Shifted* functions have :math:`r_{s,i} = R_i` and :math:`\eta = 1/(2 \Delta R^2)`, from 0.5
    Angstrom on. *Centred* functions have :math:`r_s = 0` and :math:`\eta_i = 1/(2 R_i^2)`, from 1
    Angstrom on. The three-body functions are centred, with both signs of the cosine. Source:
    Gastegger et al., J. Chem. Phys. 148, 241709 (2018). The defaults are the 22 radial functions of
    its supplement, and as many angular ones, 10.

    Args:
        elements: chemical symbols.
        r_cut: cutoff in Angstrom, more than 1.5.
        radial: number of auxiliary radii of G2, at least 2.
        angular: number of auxiliary radii of G4, at least 2.
        zeta: exponents of the angular part.
        centered: whether G2 is centred instead of shifted.
        weighted: whether to use a single channel weighted by atomic numbers, as the paper proposes.

    Returns:
        The functions: 32 for any elements with the defaults.

    Raises:
        ValueError: if a number of radii or the cutoff is too small.
    """
    for name, count in (("radial", radial), ("angular", angular)):
        if count < 2:
            raise ValueError(f"expected {name} >= 2 functions, got {count}")
    if not 1.5 < r_cut < np.inf:
        raise ValueError(f"expected r_cut > 1.5 Angstrom, got {r_cut}")
    start = 1.0 if centered else 0.5
    radii = np.linspace(start, r_cut - 0.5, radial)
    spacing = radii[1] - radii[0]
    return ACSF(
        elements=tuple(elements),
        r_cut=r_cut,
        g2_eta=tuple(0.5 / radii**2) if centered else (0.5 / spacing**2,),
        g2_r_s=(0.0,) if centered else tuple(radii),
        g4_zeta=zeta,
        g4_eta=tuple(0.5 / np.linspace(1.0, r_cut - 0.5, angular) ** 2),
        g5_zeta=(),
        weighted=weighted,
    )


def bonds(elements: Iterable[str], reach: float = 1.84) -> ACSF:
    r"""Functions of bonds and of the angles between them, for models that learn energies.

    Lengths are in units of a bond length b, twice the mean covalent radius of the elements (2.72
    Angstrom for Pt). There are 21 of G2, Gaussians of three widths at seven distances, and 42 of
    G5, seven exponents of the angle in three sizes of environment. The variants ``default`` and
    ``functions`` of ``benchmarks/design.py`` compare what is learned from these functions and from
    those of :func:`fung2022`, which are three times as many.

    Args:
        elements: chemical symbols.
        reach: cutoff in units of b.

    Returns:
        The functions: 63 for one element.

    Raises:
        ValueError: if the cutoff is not positive.
    """
    if not 0.0 < reach < math.inf:
        raise ValueError(f"expected reach > 0 bond lengths, got {reach}")
    symbols = tuple(elements)
    bond = 2.0 * float(np.mean([covalent_radii[atomic_numbers[symbol]] for symbol in symbols]))
    lengths = (0.0, 0.735, 0.92, 1.1, 1.29, 1.47, 1.65)
    return ACSF(
        elements=symbols,
        r_cut=round(reach * bond, 3),
        g2_eta=tuple(round(eta / bond**2, 3) for eta in (0.37, 3.7, 30.0)),
        g2_r_s=tuple(round(length * bond, 2) for length in lengths),
        g5_zeta=(1, 2, 4, 8, 16, 32, 64),
        g5_eta=tuple(round(eta / bond**2, 3) for eta in (0.15, 0.44, 1.5)),
    )


_SMOOTH = {"poolings": ("mean", "moment2"), "per_element": True}
"""Settings of fingerprints that are smooth functions of the positions."""

PRESETS: dict[str, Preset] = {
    "default": Preset(default, _SMOOTH),
    "cluster": Preset(cluster, _SMOOTH),
    "crystal": Preset(crystal, _SMOOTH),
    "fung2022": Preset(fung2022, {"images": "minimum"}),
    "gastegger2018": Preset(gastegger2018),
    "bonds": Preset(bonds, _SMOOTH),
}
"""The presets of symmetry functions by name."""

"""Published and proven sets of parameters, by name."""

import math
from collections.abc import Iterable

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from jaxrecon.descriptors.acsf.acsf import ACSF
from jaxrecon.descriptors.base import Preset


def fung2022(elements: Iterable[str]) -> ACSF:
    """G2 and G5 within 20 Angstrom: the 190 functions (for one element) of arXiv 2207.13227."""
    return ACSF(elements=tuple(elements))


def default(elements: Iterable[str], r_cut: float = 12.0) -> ACSF:
    r"""Broad functions whose mean and variance invert well: G2 at every Angstrom, twelve of G5.

    Gaussians as wide as their distance (:math:`\eta = 0.5` per Angstrom squared) leave no gaps, so
    that a descent feels an atom wherever it is; sharper ones make a rugged landscape. With one
    width of G5 instead of two most targets come back as well, and the hard ones don't. There have
    to be more numbers than unknowns, 3 for each atom: of one element more than 17 atoms need more
    of them, by other poolings or by functions of your own.

    Args:
        elements: chemical symbols.
        r_cut: cutoff in Angstrom, at least 2; what is farther from all others is not seen.

    Raises:
        ValueError: if the cutoff is below 2 Angstrom.
    """
    if not r_cut >= 2.0:
        raise ValueError(f"expected r_cut >= 2 Angstrom, got {r_cut}")
    return ACSF(
        elements=tuple(elements),
        r_cut=r_cut,
        g2_eta=(0.5,),
        g2_r_s=tuple(range(1, math.ceil(r_cut))),
        g5_zeta=(1, 4, 16),
        g5_eta=(0.02, 0.1),
    )


def crystal(elements: Iterable[str], r_cut: float = 6.0) -> ACSF:
    """The functions of :func:`default` within 6 Angstrom, for sums over all periodic images."""
    return default(elements, r_cut)


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
    r"""The automatic grids of the wACSF paper: G2 and G4 on equidistant auxiliary radii.

    On radii :math:`R_1 \dots R_N`, equidistant up to :math:`r_c - 0.5` Angstrom, *centred*
    functions have :math:`r_s = 0,\ \eta_i = 1/(2 R_i^2)`, starting at 1 Angstrom, and *shifted*
    ones :math:`r_{s,i} = R_i,\ \eta = 1/(2 \Delta R^2)`, starting at 0.5 Angstrom. The three-body
    functions are centred, with both signs of the cosine. Source: Gastegger et al., J. Chem. Phys.
    148, 241709 (2018); the defaults are the 22 radial functions of its supplement, and as many
    angular ones, 10.

    Args:
        elements: chemical symbols.
        r_cut: cutoff in Angstrom, more than 1.5.
        radial: number of auxiliary radii of G2, at least 2.
        angular: number of auxiliary radii of G4, at least 2.
        zeta: exponents of the angular part.
        centered: whether G2 is centred instead of shifted.
        weighted: one channel weighted by atomic numbers, the paper's proposal.

    Raises:
        ValueError: if there is no room or are too few radii for a grid.
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
    r"""Functions of bonds and of angles between them, made for learning energies.

    Lengths are in units of b, twice the mean covalent radius of the elements (2.72 Angstrom for
    Pt): 21 of G2, Gaussians of three widths at seven distances, and 42 of G5, seven sharpnesses in
    three sizes of environment. The variant ``functions`` of benchmarks/design.py compares what is
    learned from them with what is learned from those of :func:`fung2022`, three times as many.

    Args:
        elements: chemical symbols.
        reach: cutoff in units of b.

    Raises:
        ValueError: if the cutoff is not positive.
    """
    if not 0.0 < reach < math.inf:
        raise ValueError(f"expected reach > 0 bond lengths, got {reach}")
    symbols = tuple(elements)
    bond = 2.0 * float(np.mean([covalent_radii[atomic_numbers[each]] for each in symbols]))
    lengths = (0.0, 0.735, 0.92, 1.1, 1.29, 1.47, 1.65)
    return ACSF(
        elements=symbols,
        r_cut=round(reach * bond, 3),
        g2_eta=tuple(round(each / bond**2, 3) for each in (0.37, 3.7, 30.0)),
        g2_r_s=tuple(round(each * bond, 2) for each in lengths),
        g5_zeta=(1, 2, 4, 8, 16, 32, 64),
        g5_eta=tuple(round(each / bond**2, 3) for each in (0.15, 0.44, 1.5)),
    )


_SMOOTH = {"poolings": ("mean", "moment2"), "per_element": True}

PRESETS: dict[str, Preset] = {
    "default": Preset(default, _SMOOTH),
    "crystal": Preset(crystal, _SMOOTH),
    "fung2022": Preset(fung2022, {"images": "minimum"}),
    "gastegger2018": Preset(gastegger2018),
    "bonds": Preset(bonds, _SMOOTH),
}
"""The presets of symmetry functions by name."""

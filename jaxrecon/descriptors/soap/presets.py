"""Presets: published and proven settings of SOAP, by name."""

import math
from collections.abc import Iterable
from typing import Literal

from jaxrecon.descriptors.preset import Preset
from jaxrecon.descriptors.soap.expansion import Scaling
from jaxrecon.descriptors.soap.inner import InnerSOAP
from jaxrecon.descriptors.soap.radial import BasisName
from jaxrecon.descriptors.soap.soap import SOAP

DECAY = 1e-3
"""Value of a Gaussian at the distance by which DScribe extends its cutoff."""


def soap(
    elements: Iterable[str],
    r_cut: float = 8.0,
    *,
    n_max: int = 4,
    l_max: int = 3,
    sigma: float = 0.5,
    basis: BasisName = "gto",
    cutoff_width: float = 1.0,
    normalize: bool = False,
) -> SOAP:
    """Few functions from whose means and variances structures are found reliably.

    On twelve spread clusters of ten Pt atoms (``benchmarks/recovery.py pt10_pbe1000 --targets 12``)
    four radial functions and degrees up to 3 need hardly more evaluations than six and degrees up
    to 4, with 80 instead of 210 numbers. Three radial functions need nearly three times as many; of
    three with degrees up to 2 a quarter is not found. With Gaussians of 1 Angstrom two of twenty
    searches stall close to the true structure. The mean alone of these functions finds 51 of sixty
    clusters.

    Args:
        elements: chemical symbols.
        r_cut: cutoff in Angstrom.
        n_max: number of radial functions.
        l_max: largest degree of the spherical harmonics.
        sigma: width of the Gaussians in Angstrom.
        basis: the radial functions.
        cutoff_width: width in Angstrom over which neighbours fade out.
        normalize: whether each row is divided by its length.

    Returns:
        The descriptor.
    """
    return SOAP(
        tuple(elements),
        r_cut,
        n_max,
        l_max,
        sigma,
        basis=basis,
        cutoff_width=cutoff_width,
        normalize=normalize,
    )


def average_dscribe(
    elements: Iterable[str],
    r_cut: float = 6.0,
    *,
    n_max: int = 8,
    l_max: int = 6,
    sigma: float = 1.0,
    basis: BasisName = "gto",
    average: Literal["outer", "inner"] = "outer",
) -> SOAP:
    r"""What ``SOAP(average="outer")`` of DScribe gives, number by number.

    DScribe counts atoms as neighbours up to :math:`r_c + \sigma \sqrt{-2 \ln 0.001}`, without a
    smooth end.

    Args:
        elements: chemical symbols.
        r_cut: DScribe's ``r_cut`` in Angstrom, the radius of the radial functions.
        n_max: number of radial functions.
        l_max: largest degree of the spherical harmonics.
        sigma: width of the Gaussians in Angstrom.
        basis: DScribe's ``rbf``.
        average: DScribe's ``average``: the power spectra of all atoms, or their densities
            (:class:`~jaxrecon.descriptors.soap.inner.InnerSOAP`).

    Returns:
        The descriptor.

    Raises:
        ValueError: if the average is neither of these.
    """
    if average not in ("outer", "inner"):
        raise ValueError(f"expected average 'outer' or 'inner', got {average!r}")
    reach = r_cut + sigma * math.sqrt(-2.0 * math.log(DECAY))
    family = SOAP if average == "outer" else InnerSOAP
    return family(
        tuple(elements), reach, n_max, l_max, sigma, basis=basis, radius=r_cut, cutoff_width=0.0
    )


def cgap2017(elements: Iterable[str]) -> SOAP:
    """The environments of Gardner et al., Digital Discovery 2023, 2, 651, for amorphous carbon.

    They are those of the potential C-GAP-17, Deringer and Csányi, Phys. Rev. B 95, 094203 (2017).

    Args:
        elements: chemical symbols.
    """
    return _published(elements, 3.7, 12, 6, 0.5, width=0.5)


def chong2023_si(elements: Iterable[str]) -> SOAP:
    """The settings of Chong et al., arXiv 2306.15638, for amorphous silicon.

    Args:
        elements: chemical symbols.
    """
    return _published(elements, 2.85, 10, 12, 0.5, width=0.1)


def chong2023_c(elements: Iterable[str]) -> SOAP:
    """The settings of Chong et al., arXiv 2306.15638, for amorphous carbon.

    Args:
        elements: chemical symbols.
    """
    return _published(elements, 1.85, 8, 8, 0.5, width=0.1)


def chong2023_gaas(elements: Iterable[str]) -> SOAP:
    """The settings of Chong et al., arXiv 2306.15638, for gallium arsenide.

    Args:
        elements: chemical symbols.
    """
    scaling = Scaling("pow", r_0=0.8, c=2.0, d=2.0, m=2.0)
    return _published(elements, 5.0, 8, 4, 0.3, width=0.5, scaling=scaling)


def _published(
    elements: Iterable[str],
    r_cut: float,
    n_max: int,
    l_max: int,
    sigma: float,
    *,
    width: float,
    scaling: Scaling | None = None,
) -> SOAP:
    """Normalised environments in the convention of librascal, which fade out over a width."""
    return SOAP(
        tuple(elements),
        r_cut,
        n_max,
        l_max,
        sigma,
        basis="featomic",
        cutoff_width=width,
        scaling=scaling,
        convention="featomic",
        normalize=True,
    )


_SMOOTH = {"poolings": ("mean", "moment2"), "per_element": True}
"""Settings of fingerprints that are smooth functions of the positions."""

_MEAN = {"poolings": ("mean",)}
"""Settings of the average over all atoms."""

PRESETS: dict[str, Preset] = {
    "soap": Preset(soap, _SMOOTH),
    "average_dscribe": Preset(average_dscribe, _MEAN),
    "cgap2017": Preset(cgap2017, _MEAN),
    "chong2023_si": Preset(chong2023_si, _MEAN),
    "chong2023_c": Preset(chong2023_c, _MEAN),
    "chong2023_gaas": Preset(chong2023_gaas, _MEAN),
}
"""The presets of SOAP by name."""

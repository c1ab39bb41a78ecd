"""The preset of universal fingerprints."""

from collections.abc import Iterable

from jaxrecon.descriptors.preset import Preset
from jaxrecon.descriptors.universal.elements import PETTIFOR
from jaxrecon.descriptors.universal.universal import Universal


def universal(
    elements: Iterable[str] = PETTIFOR,
    r_cut: float = 6.0,
    *,
    properties: tuple[str, ...] = ("group", "period"),
    moments: int = 6,
    eta: float = 1.0,
    r_s: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0),
    centered: bool = True,
    widths: tuple[float, ...] = (0.02, 0.1),
    l_max: int = 2,
    decay: float = 1.0,
) -> Universal:
    """One row for structures of any elements.

    Args:
        elements: chemical symbols of the elements that structures may have; those from H to Lr.
        r_cut: cutoff in Angstrom.
        properties: weights of elements besides 1.
        moments: largest number of elements whose composition can be read.
        eta: exponent of G2 in 1/Angstrom^2.
        r_s: centres of G2 in Angstrom.
        centered: whether to have G2 times the weights of the central atom.
        widths: exponents of the three-body functions in 1/Angstrom^2.
        l_max: largest degree of their Legendre polynomials.
        decay: factor of the numbers of each degree relative to those of the degree below.

    Returns:
        The functions: 90, whatever the elements, with the defaults.
    """
    return Universal(
        tuple(elements),
        r_cut,
        tuple(properties),
        moments,
        eta,
        tuple(r_s),
        centered,
        tuple(widths),
        l_max,
        decay,
    )


PRESETS: dict[str, Preset] = {
    "universal": Preset(universal, {"poolings": ("mean", "moment2")}),
}
"""The preset by name."""

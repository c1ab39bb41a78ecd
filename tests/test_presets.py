"""Presets of symmetry functions against the parameters in print."""

from __future__ import annotations

import numpy as np
import pytest

from jaxrecon import ACSF
from jaxrecon.descriptors.acsf.presets import bonds, gastegger2018

# The published parameters of Fung et al., written here a second time.
ETA2 = (0.01, 0.06, 0.1, 0.2, 0.4, 0.7, 1, 2, 3.5, 5)
R_S = (0, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10)
ZETA = (1, 2, 4, 16, 64)
LAM = (-1, 1)
ETA5 = (0.06, 0.1, 0.2, 0.4, 1)


def test_default_parameters_are_the_published_ones() -> None:
    config = ACSF(elements=("Pt",))
    assert config.r_cut == 20.0
    assert config.cutoff == "cosine"
    assert (config.g2_eta, config.g2_r_s) == (ETA2, R_S)
    assert (config.g5_zeta, config.g5_lam, config.g5_eta) == (ZETA, LAM, ETA5)


def test_order_of_the_published_features() -> None:
    expected = [f"G2[Pt] eta={eta:g} r_s={r_s:g}" for eta in ETA2 for r_s in R_S]
    expected += [
        f"G5[Pt,Pt] zeta={zeta:g} lam={lam:g} eta={eta:g}"
        for zeta in ZETA
        for lam in LAM
        for eta in ETA5
    ]
    assert len(expected) == 190
    assert list(ACSF(elements=("Pt",)).names) == expected


def test_the_supplement_of_gastegger2018() -> None:
    """Its table has 22 shifted functions: eta = 4.5, r_s = 0.5 to 7.5 Angstrom in steps of 1/3."""
    config = gastegger2018(["C", "H", "O"])
    assert config.r_cut == 8.0
    assert config.weighted
    np.testing.assert_allclose(config.g2_eta, [4.5], rtol=1e-12)
    np.testing.assert_allclose(config.g2_r_s, 0.5 + np.arange(22) / 3, rtol=1e-12)
    assert (config.g4_zeta, config.g4_lam, config.g4_r_s) == ((1,), (-1, 1), (0,))
    assert (len(config.g4_eta), config.g4_eta[0]) == (5, 0.5)
    assert not config.g5_zeta
    assert config.size == 22 + 10


@pytest.mark.parametrize("r_cut", [4.0, 12.5])
def test_centred_grids(r_cut: float) -> None:
    """At its auxiliary radius a centred Gaussian has fallen to exp(-1/2)."""
    config = gastegger2018(["C"], r_cut, radial=4, angular=3, zeta=(1, 8), centered=True)
    assert config.g2_r_s == (0,)
    assert config.g4_zeta == (1, 8)
    for eta, count in [(config.g2_eta, 4), (config.g4_eta, 3)]:
        radii = 1.0 + np.arange(count) * (r_cut - 1.5) / (count - 1)
        np.testing.assert_allclose(np.exp(-np.array(eta) * radii**2), np.exp(-0.5), rtol=1e-12)


@pytest.mark.parametrize("r_cut", [4.0, 12.5])
def test_shifted_grids(r_cut: float) -> None:
    """At the centre of the next one a shifted Gaussian has fallen to exp(-1/2)."""
    config = gastegger2018(["C"], r_cut, radial=7)
    radii = np.array(config.g2_r_s)
    assert len(radii) == 7
    assert (radii[0], radii[-1]) == (0.5, r_cut - 0.5)
    np.testing.assert_allclose(config.g2_eta[0] * np.diff(radii) ** 2, 0.5, rtol=1e-12)


def test_weighted_length_does_not_grow_with_the_elements() -> None:
    sizes = [gastegger2018(elements).size for elements in ("H", "HC", ("H", "C", "O", "Pt"))]
    assert sizes == [32] * 3
    # Without weights there are two-body functions for each element, three-body ones for each pair.
    channels = gastegger2018(("H", "C", "O", "Pt"), weighted=False)
    assert channels.size == 4 * 22 + 10 * 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radial": 1}, "expected radial >= 2 functions, got 1"),
        ({"angular": 1}, "expected angular >= 2 functions, got 1"),
        ({"r_cut": 1.5}, "expected r_cut > 1.5 Angstrom, got 1.5"),
        ({"r_cut": float("nan")}, "expected r_cut > 1.5 Angstrom, got nan"),
        ({"r_cut": float("inf")}, "expected r_cut > 1.5 Angstrom, got inf"),
        ({"elements": ()}, "expected elements as chemical symbols"),
    ],
)
def test_impossible_grids_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gastegger2018(**{"elements": ("Pt",), **changes})


def test_bonds_scale_with_the_atoms() -> None:
    platinum, mixed, small = bonds(["Pt"]), bonds(["H", "Pt"]), bonds(["H"])
    assert (platinum.size, small.size) == (63, 63)
    assert platinum.r_cut == pytest.approx(5.0, abs=0.01)
    assert max(platinum.g2_r_s) < platinum.r_cut
    # Covalent radii of H and Pt (Cordero et al., 2008): 0.31 and 1.36 Angstrom.
    assert small.r_cut / platinum.r_cut == pytest.approx(0.31 / 1.36, rel=1e-3)
    assert mixed.r_cut / platinum.r_cut == pytest.approx(0.835 / 1.36, rel=1e-3)
    np.testing.assert_allclose(
        np.multiply(small.g2_eta, 0.31**2), np.multiply(platinum.g2_eta, 1.36**2), rtol=0.02
    )
    with pytest.raises(ValueError, match="expected reach > 0 bond lengths, got 0"):
        bonds(["Pt"], 0.0)

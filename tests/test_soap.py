"""SOAP: values against DScribe and featomic, derivatives against featomic, in their conventions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import featomic
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from ase import Atoms
from ase.build import bulk, molecule, surface
from ase.data import chemical_symbols
from dscribe import descriptors as dscribe
from jaxtyping import Array
from strategies import random_crystal

from jaxrecon import SOAP, Fingerprint, batch, featurize
from jaxrecon.descriptors.derivatives import entries_by_positions
from jaxrecon.descriptors.points import rows_at
from jaxrecon.descriptors.soap.expansion import Scaling
from jaxrecon.descriptors.soap.presets import PRESETS, average_dscribe
from jaxrecon.descriptors.soap.radial import BASES, Basis, orbitals, radial_integrals

ELEMENTS = ("H", "C", "O", "Pt")
MOLECULES = [molecule("CH3OH"), molecule("H2CO"), Atoms("H")]
TRICLINIC = random_crystal(5, 4)
DIAMOND = bulk("C")
DIAMOND.rattle(0.1, seed=1)
SLAB = surface(bulk("Pt", cubic=True), (1, 1, 0), 2, vacuum=6.0)


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", BASES)
def test_radial_integrals_are_those_of_quadrature(name: str) -> None:
    """At distances between the knots of the interpolation, the first and last one included."""
    basis = Basis(name, n_max=5, l_max=6, radius=4.0, sigma=0.4, reach=5.0)
    r = np.array([0.0, 0.013, 0.8, 2.345, 3.999, 4.99])
    found = np.asarray(radial_integrals(basis, jnp.asarray(r)))
    found = found * (r / basis.radius) ** np.arange(7)[:, None]
    eta = 0.5 / basis.sigma**2
    for l, n, k in [(0, 0, 0), (0, 2, 1), (1, 1, 2), (3, 4, 3), (6, 3, 4), (6, 0, 5)]:

        def integrand(x: float, l: int = l, n: int = n, k: int = k) -> float:
            bessel = scipy.special.spherical_in(l, 2 * eta * x * r[k])
            g = orbitals(basis, l, np.array([x]))[n, 0]
            return 4 * np.pi * x**2 * g * np.exp(-eta * (x**2 + r[k] ** 2)) * bessel

        ends = (max(r[k] - 4, 0.0), min(r[k] + 4, 4.0 if name == "polynomial" else 9.0))
        expected = scipy.integrate.quad(integrand, *ends, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
        assert found[n, l, k] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("compression", ["none", "mu2", "mu1nu1", "crossover"])
@pytest.mark.parametrize("basis", ["gto", "polynomial"])
def test_averages_are_those_of_dscribe(basis: str, compression: str) -> None:
    settings: dict[str, Any] = {"n_max": 3, "l_max": 2, "sigma": 0.7}
    reference = dscribe.SOAP(
        species=ELEMENTS,
        r_cut=3.0,
        rbf=basis,
        average="outer",
        compression={"mode": "off" if compression == "none" else compression},
        **settings,
    )
    ours = replace(average_dscribe(ELEMENTS, 3.0, basis=basis, **settings), compression=compression)
    close(
        featurize(MOLECULES, Fingerprint(ours, ("mean",)), dtype=np.float64),
        reference.create(MOLECULES),
        1e-9,
    )


@pytest.mark.parametrize("atoms", [MOLECULES[0], TRICLINIC, SLAB], ids=["free", "bulk", "slab"])
def test_the_spectrum_of_the_mean_density_is_that_of_dscribe(atoms: Atoms) -> None:
    settings: dict[str, Any] = {"n_max": 3, "l_max": 4, "sigma": 0.6}
    reference = dscribe.SOAP(
        species=ELEMENTS, r_cut=3.0, average="inner", periodic=atoms.pbc.any(), **settings
    )
    ours = average_dscribe(ELEMENTS, 3.0, average="inner", **settings)
    found = featurize(atoms, Fingerprint(ours, ("mean",)), dtype=np.float64)[0]
    close(found, reference.create(atoms), 1e-10)
    outer = average_dscribe(ELEMENTS, 3.0, **settings)
    other = featurize(atoms, Fingerprint(outer, ("mean",)), dtype=np.float64)[0]
    assert np.abs(found - other).max() > 1e-3 * np.abs(other).max()


SCALINGS = {
    "poly": {"r0": 3.5, "c": 2.0, "m": 2.0},
    "pow": {"r0": 2.0, "c": 1.5, "d": 1.0, "m": 4.0},
    "exp": {"r0": 1.5, "c": 1.0, "d": 0.5},
}


@pytest.mark.parametrize("kind", SCALINGS)
@pytest.mark.parametrize("atoms", [TRICLINIC, SLAB], ids=["triclinic", "slab"])
def test_rows_of_periodic_structures_are_those_of_dscribe(atoms: Atoms, kind: str) -> None:
    """With all images, weights of elements, of distances and of the central atom."""
    weights = {"H": 1.0, "C": 2.0, "O": -0.5, "Pt": 1.5}
    reference = dscribe.SOAP(
        species=ELEMENTS,
        periodic=True,
        r_cut=3.0,
        n_max=2,
        l_max=3,
        sigma=0.5,
        weighting={"function": kind, "w0": 0.3, **SCALINGS[kind]},
        compression={"mode": "mu2", "species_weighting": weights},
    )
    scaling = Scaling(kind, **{k.replace("r0", "r_0"): v for k, v in SCALINGS[kind].items()})
    ours = replace(
        average_dscribe(ELEMENTS, 3.0, n_max=2, l_max=3, sigma=0.5),
        scaling=scaling,
        center_weight=0.3,
        compression="mu2",
        weights=weights,
    )
    close(rows_of(ours, atoms), reference.create(atoms), 1e-9)


FEATOMIC = {
    "molecule": (MOLECULES[0], 4, 3, 4.0, 0.5, None),
    "triclinic": (TRICLINIC, 3, 2, 4.0, 0.5, None),
    "high degree, scaled": (DIAMOND, 3, 8, 3.0, 0.3, (2.0, 0.8, 2.5)),
}


@pytest.mark.parametrize("case", FEATOMIC)
def test_rows_and_derivatives_are_those_of_featomic(case: str) -> None:
    """By positions and by strain."""
    atoms, n_max, l_max, r_cut, sigma, willatt = FEATOMIC[case]
    density: dict[str, Any] = {"type": "Gaussian", "width": sigma, "center_atom_weight": 0.7}
    scaling = None
    if willatt is not None:
        rate, scale, exponent = willatt
        density["scaling"] = {
            "type": "Willatt2018",
            "rate": rate,
            "scale": scale,
            "exponent": exponent,
        }
        scaling = Scaling("pow", scale, rate, rate, exponent)
    radial = {"type": "Gto", "max_radial": n_max - 1}
    calculator = featomic.SoapPowerSpectrum(
        cutoff={"radius": r_cut, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density=density,
        basis={
            "type": "TensorProduct",
            "max_angular": l_max,
            "radial": radial,
            "spline_accuracy": 1e-11,
        },
    )
    gradients = ["positions", "strain"] if atoms.pbc.all() else ["positions"]
    expected = calculator.compute([atoms], gradients=gradients)
    elements = tuple(sorted(set(atoms.symbols)))
    ours = SOAP(
        elements,
        r_cut,
        n_max,
        l_max,
        sigma,
        basis="featomic",
        cutoff_width=0.5,
        scaling=scaling,
        center_weight=0.7,
        convention="featomic",
    )
    names = ours.names
    rows, by_positions, by_strain = rows_and_derivatives(ours, atoms)
    compared = 0
    for key, block in expected.items():
        _, first, second = (chemical_symbols[number] for number in key.values)
        pairs = f"p[{first},{second}]", f"p[{second},{first}]"
        columns = [index for index, name in enumerate(names) if name.startswith(pairs)]
        centers = np.asarray(block.samples.column("atom"))
        close(rows[centers][:, columns], block.values, 1e-9)
        # featomic lists the samples (row of the block, structure, atom that moves).
        gradient = block.gradient("positions")
        moved = np.asarray(gradient.samples.values)
        found = by_positions[centers[moved[:, 0]]][:, columns][
            np.arange(len(moved)), :, moved[:, 2]
        ]
        close(found.transpose(0, 2, 1), gradient.values, 1e-8)
        if atoms.pbc.all():
            found = by_strain[centers][:, columns]
            wanted = np.moveaxis(block.gradient("strain").values, -1, 1)
            close(found, (wanted + wanted.transpose(0, 1, 3, 2)) / 2, 1e-8)
        compared += len(centers)
    assert compared >= len(atoms)


def test_presets() -> None:
    """Numbers for one element and for three, and the poolings."""
    assert {
        name: (
            Fingerprint.preset(name, "Pt").size,
            Fingerprint.preset(name, ["H", "O", "Pt"]).size,
            len(Fingerprint.preset(name, "Pt").poolings),
        )
        for name in PRESETS
    } == {
        "soap": (2 * 10 * 4, 2 * 3 * 78 * 4, 2),
        "average_dscribe": (36 * 7, 300 * 7, 1),
        "cgap2017": (144 * 7, 6 * 144 * 7, 1),
        "chong2023_si": (100 * 13, 6 * 100 * 13, 1),
        "chong2023_c": (64 * 9, 6 * 64 * 9, 1),
        "chong2023_gaas": (64 * 5, 6 * 64 * 5, 1),
    }


def test_published_cutoffs_fade_out_over_the_published_widths() -> None:
    found = {
        name: Fingerprint.preset(f"chong2023_{name}", ["Si"]).descriptor.cutoff_width
        for name in ("si", "c", "gaas")
    }
    assert found == {"si": 0.1, "c": 0.1, "gaas": 0.5}


def test_float32_is_accurate() -> None:
    ours = average_dscribe(ELEMENTS, 5.0, n_max=8, l_max=6, sigma=0.5)
    fingerprint = Fingerprint(ours, ("mean",))
    expected = featurize(MOLECULES, fingerprint, dtype=np.float64)
    found = featurize(MOLECULES, fingerprint, dtype=np.float32)
    assert found.dtype == np.float32
    close(found, expected, 1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_max": 0}, "expected n_max from 1 to 40, got 0"),
        ({"l_max": 21}, "expected l_max from 0 to 20, got 21"),
        ({"sigma": 0.0}, "expected sigma >= 0.05 Angstrom, got 0.0"),
        ({"radius": 0.5}, "expected radius > 1 Angstrom, got 0.5"),
        ({"cutoff_width": 7.0}, "expected cutoff_width between 0 and r_cut 6.0, got 7.0"),
        ({"center_weight": -1.0}, "expected center_weight >= 0, got -1.0"),
        ({"weights": [["H", 1.0]]}, r"expected weights of all elements \('H', 'O'\)"),
        ({"weights": [["H", [1, 2]], ["O", [1, 2]]]}, "expected one weight of each element, or"),
        (
            {"compression": "mu2", "weights": [["H", 1.0], ["O", [1, 2]]]},
            "expected one weight of each element, or",
        ),
        ({"scaling": {"kind": "pow"}}, "expected a scaling's settings, got"),
        ({"scaling": {"kind": "pow", "r_0": 0.0}}, "expected r_0 > 0 of a scaling, got 0.0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fingerprint.from_dict(
            {"descriptor": {"family": "soap", "elements": ["H", "O"], **settings}}
        )


def test_an_unknown_average_is_refused(unchecked: None) -> None:
    with pytest.raises(ValueError, match="expected average 'outer' or 'inner', got 'off'"):
        average_dscribe(ELEMENTS, average="off")


def rows_of(descriptor: SOAP, atoms: Atoms) -> np.ndarray:
    """The rows of all atoms."""
    return rows_and_derivatives(descriptor, atoms)[0]


def rows_and_derivatives(
    descriptor: SOAP, atoms: Atoms
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The rows, and their derivatives by positions ``(n, f, n, 3)`` and strain ``(n, f, 3, 3)``."""
    fingerprint = Fingerprint(descriptor)
    structure = jax.tree.map(lambda leaf: leaf[0], batch([atoms], fingerprint))

    @jax.jit
    def compute(structure: Any) -> tuple[Array, Array]:
        neighbors = fingerprint.view(structure).neighbors
        rows, jacobian = descriptor.with_jacobian(neighbors)
        return rows, entries_by_positions(jacobian, neighbors, strain=True)

    rows, derivatives = compute(structure)
    n = len(atoms)
    return (
        np.asarray(rows)[:n],
        np.asarray(derivatives)[:n, :, :n],
        np.asarray(derivatives)[:n, :, -3:],
    )


def close(found: Any, expected: Any, relative: float) -> None:
    expected = np.asarray(expected)
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.abs(expected).max())


@pytest.mark.parametrize("atoms", [MOLECULES[0], SLAB], ids=["molecule", "slab"])
def test_points_that_are_no_atoms_are_those_of_dscribe(atoms: Atoms) -> None:
    points = np.array([atoms.positions[0] + [0.3, -0.5, 1.8], atoms.get_center_of_mass()])
    reference = dscribe.SOAP(
        species=ELEMENTS, r_cut=3.0, n_max=2, l_max=2, sigma=0.5, periodic=atoms.pbc.any()
    )
    ours = average_dscribe(ELEMENTS, 3.0, n_max=2, l_max=2, sigma=0.5)
    found = rows_at(atoms, points, ours, dtype=np.float64)
    close(found, reference.create(atoms, centers=points.tolist()), 1e-9)


def test_points_are_finite() -> None:
    with pytest.raises(ValueError, match=r"expected finite points of shape \(k, 3\), got"):
        rows_at(SLAB, np.full((1, 3), np.nan), average_dscribe(ELEMENTS))

"""The symmetry functions: values against loops and DScribe, derivatives against autodiff."""

from __future__ import annotations

from functools import partial
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from dscribe import descriptors as dscribe
from hypothesis import example, given
from reference import acsf_rows
from strategies import clusters, crystals, random_cluster, random_crystal

from jaxrecon import ACSF
from jaxrecon.descriptors.cutoffs import cosine
from jaxrecon.space import Neighbors, bounds_of, image_neighbors, neighbors
from jaxrecon.structures import Structure, from_ase

# The published parameters of Fung et al., written down here a second time.
ETA2 = (0.01, 0.06, 0.1, 0.2, 0.4, 0.7, 1, 2, 3.5, 5)
R_S = (0, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10)
ZETA = (1, 2, 4, 16, 64)
LAM = (-1, 1)
ETA5 = (0.06, 0.1, 0.2, 0.4, 1)

SMALL = ACSF(
    elements=("H", "O", "Pt"),
    r_cut=5.0,
    g2_eta=(0.05, 1.0),
    g2_r_s=(0.0, 1.5, 3.0),
    g5_zeta=(1, 2.5, 16),
    g5_lam=(-1, 0.5, 1),
    g5_eta=(0.05, 0.3),
)
PADDED = 20


@partial(jax.jit, static_argnums=0)
def rows(config: ACSF, structure: Structure) -> jax.Array:
    return config(neighbors(structure))


def padded_rows(config: ACSF, atoms: Atoms, dtype: str) -> np.ndarray:
    """Rows of the atoms, from one compiled program for every size."""
    with jax.enable_x64(dtype == "float64"):
        values = np.asarray(rows(config, from_ase(atoms, size=PADDED)))
    assert values.dtype == dtype
    return values[: len(atoms)]


def assert_rows(config: ACSF, atoms: Atoms, expected: np.ndarray) -> None:
    """Each number to 1e-11 in float64; in float32, to round-off beside the largest number.

    What one neighbour adds is at most 1. A rounding of the cosine counts zeta times in its power:
    1e-6 for most, 8e-6 at zeta = 64.
    """
    exact = padded_rows(config, atoms, "float64")
    np.testing.assert_allclose(exact, expected, rtol=1e-11, atol=1e-14)
    radial = len(config.elements) * len(config.g2_eta) * len(config.g2_r_s)
    short = padded_rows(config, atoms, "float32")
    amplified = max(1e-6, np.finfo(np.float32).eps * max(config.g5_zeta))
    for kind, tolerance in [(slice(0, radial), 1e-6), (slice(radial, None), amplified)]:
        off = np.abs(short[:, kind] - expected[:, kind]).max(initial=0.0)
        assert off <= tolerance * np.abs(expected[:, kind]).max(initial=1.0)


def test_default_parameters_are_the_published_ones() -> None:
    config = ACSF(elements=("Pt",))
    assert config.r_cut == 20.0
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


def test_one_feature_at_a_time() -> None:
    """Each number of the full set is the number that its name says, computed alone."""
    atoms = random_cluster(3, 4, ("O", "Pt"))
    config = ACSF(
        elements=("O", "Pt"),
        g2_eta=(0.1, 1.0),
        g2_r_s=(1.0, 2.0),
        g5_zeta=(1, 4),
        g5_lam=(-1, 1),
        g5_eta=(0.1, 0.2),
    )
    values = padded_rows(config, atoms, "float64")
    for column, name in enumerate(config.names):
        kind, *settings_ = name.split()
        numbers = [float(text.split("=")[1]) for text in settings_]
        channel = kind[3:-1].split(",")
        i = 0
        total = 0.0
        x = atoms.positions - atoms.positions[i]
        for j in range(1, 4):
            r = np.linalg.norm(x[j])
            fc = 0.5 * (np.cos(np.pi * r / 20.0) + 1)
            if kind.startswith("G2") and atoms.symbols[j] == channel[0]:
                total += np.exp(-numbers[0] * (r - numbers[1]) ** 2) * fc
            for k in range(1, j) if kind.startswith("G5") else ():
                if sorted([atoms.symbols[j], atoms.symbols[k]]) == sorted(channel):
                    zeta, lam, eta = numbers
                    q = np.linalg.norm(x[k])
                    angle = np.arccos(x[j] @ x[k] / r / q)
                    gc = 0.5 * (np.cos(np.pi * q / 20.0) + 1)
                    half = (1 + lam * np.cos(angle)) ** zeta * np.exp(-eta * (r**2 + q**2))
                    total += 2 ** (1 - zeta) * half * fc * gc
        assert values[i, column] == pytest.approx(total, rel=1e-10), name


@given(atoms=clusters(elements=("Pt",)))
@example(atoms=random_cluster(0, 2, ("Pt",)))
@example(atoms=random_cluster(1, 20, ("Pt",)))
def test_published_set_of_clusters(atoms: Atoms) -> None:
    config = ACSF(elements=("Pt",))
    assert_rows(config, atoms, acsf_rows(config, atoms))


@given(atoms=clusters())
@example(atoms=random_cluster(0, 20))
def test_channels_of_several_elements(atoms: Atoms) -> None:
    assert_rows(SMALL, atoms, acsf_rows(SMALL, atoms))


@given(atoms=crystals())
@example(atoms=random_crystal(0, 12))
def test_crystals_in_the_minimum_image(atoms: Atoms) -> None:
    assert_rows(SMALL, atoms, acsf_rows(SMALL, atoms))


def dscribe_rows(config: ACSF, atoms: Atoms, *, periodic: bool) -> np.ndarray:
    """DScribe's numbers in our order: a block an element (G1 first), then a block a pair."""
    radial = [(eta, r_s) for eta in config.g2_eta for r_s in config.g2_r_s]
    zetas, lams, etas = config.g5_zeta, config.g5_lam, config.g5_eta
    angular = [(eta, zeta, lam) for zeta in zetas for lam in lams for eta in etas]
    oracle = dscribe.ACSF(
        r_cut=config.r_cut,
        g2_params=radial,
        g5_params=angular,
        species=config.elements,
        periodic=periodic,
    )
    values = oracle.create(atoms, centers=list(range(len(atoms))))
    count = len(config.elements)
    by_element = values[:, : count * (1 + len(radial))].reshape(len(atoms), count, -1)[:, :, 1:]
    by_pair = values[:, count * (1 + len(radial)) :].reshape(len(atoms), -1, len(angular))
    pairs = [b * (b + 1) // 2 + a for a, b in combinations_with_replacement(range(count), 2)]
    return np.concatenate(
        [by_element.reshape(len(atoms), -1), by_pair[:, pairs].reshape(len(atoms), -1)], axis=1
    )


@pytest.mark.parametrize("elements", [("Pt",), ("O", "Pt"), ("H", "O", "Pt")])
@pytest.mark.parametrize("r_cut", [4.0, 20.0])
def test_dscribe(elements: tuple[str, ...], r_cut: float) -> None:
    config = ACSF(
        elements=elements,
        r_cut=r_cut,
        g2_eta=(0.05, 1.0),
        g2_r_s=(0.0, 2.0),
        g5_zeta=(1, 2.5, 16),
        g5_lam=(-1, 1),
        g5_eta=(0.05, 0.3),
    )
    for seed in range(4):
        atoms = random_cluster(seed, 3 + 4 * seed, elements)
        expected = dscribe_rows(config, atoms, periodic=False)
        assert_rows(config, atoms, expected)


@partial(jax.jit, static_argnums=0)
def image_rows(config: ACSF, structure: Structure) -> jax.Array:
    return config(image_neighbors(structure, config.r_cut))


def test_dscribe_with_all_images() -> None:
    """Cells narrower than the cutoff: an atom sees its own images and several of the others."""
    config = ACSF(
        elements=("O", "Pt"),
        r_cut=5.0,
        g2_eta=(0.05, 1.0),
        g2_r_s=(0.0, 2.0),
        # Images lie on lines: DScribe takes a fractional power of -1e-16 there.
        g5_zeta=(1, 2, 16),
        g5_lam=(-1, 1),
        g5_eta=(0.05, 0.3),
    )
    crystals = [random_crystal(seed, 1 + 2 * seed, ("O", "Pt")) for seed in range(4)]
    images = bounds_of(crystals, config.r_cut)
    for atoms in crystals:
        expected = dscribe_rows(config, atoms, periodic=True)
        with jax.enable_x64(True):
            exact = np.asarray(image_rows(config, from_ase(atoms, 8, images)))
        np.testing.assert_allclose(exact[: len(atoms)], expected, rtol=1e-9, atol=1e-13)
        short = np.asarray(image_rows(config, from_ase(atoms, 8, images)))
        assert short.dtype == np.float32
        off = np.abs(short[: len(atoms)] - expected).max()
        assert off <= 1e-5 * np.abs(expected).max()


@partial(jax.jit, static_argnums=0)
def rows_with_jacobians(config: ACSF, seen: Neighbors) -> tuple[jax.Array, ...]:
    """Rows, and their derivatives by the vectors: closed form and forward mode."""

    def one(vectors: jax.Array, species: jax.Array, mask: jax.Array) -> jax.Array:
        return config(Neighbors(vectors[None], species[None], mask[None]))[0]

    by_autodiff = jax.vmap(jax.jacfwd(one))(seen.vectors, seen.species, seen.mask)
    return *config.with_jacobian(seen), by_autodiff


@pytest.mark.parametrize("space", ["free", "minimum", "all"])
@pytest.mark.parametrize("elements", [("Pt",), ("H", "O", "Pt")])
def test_closed_form_derivatives(space: str, elements: tuple[str, ...]) -> None:
    config = ACSF(
        elements=elements,
        r_cut=4.0,
        g2_eta=(0.05, 1.0),
        g2_r_s=(0.0, 2.0),
        g5_zeta=(1, 1.5, 2, 2.5, 16),
        g5_lam=(-1, 0.5, 1),
        g5_eta=(0.05, 0.3),
    )
    atoms = random_cluster(1, 5, elements) if space == "free" else random_crystal(1, 4, elements)
    with jax.enable_x64(True):
        if space == "all":
            seen = image_neighbors(from_ase(atoms, 5, bounds_of([atoms], 4.0)), 4.0)
        else:
            seen = neighbors(from_ase(atoms, size=6))
        values, closed, by_autodiff = map(np.asarray, rows_with_jacobians(config, seen))
        # The two ways to the value are written down apart.
        np.testing.assert_allclose(values, config(seen), rtol=1e-12, atol=1e-14)
    assert np.abs(closed).max() > 0.1
    np.testing.assert_allclose(closed, by_autodiff, rtol=1e-10, atol=1e-12)


R_CUT = 5.0
DEGENERATE = {
    "alone": [(1, 2, 3)],
    "pair": [(0, 0, 0), (1.5, 0, 0)],
    "coincident pair": [(1, 1, 1), (1, 1, 1)],
    "coincident pair and a third": [(0, 0, 0), (0, 0, 0), (1.5, 0.5, 0)],
    "all coincident": [(0, 0, 0)] * 4,
    "nearly coincident": [(0, 0, 0), (1e-5, 0, 0), (2, 0, 1)],
    "collinear": [(-1.5, 0, 0), (0, 0, 0), (1.5, 0, 0), (4, 0, 0)],
    "slanted line": [(0, 0, 0), (0.7, 0.7, 0.7), (2.1, 2.1, 2.1)],
    "right angle": [(0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 0, 2)],
    "beyond the cutoff": [(0, 0, 0), (2, 0, 0), (R_CUT + 3, 1, 0)],
    "at the cutoff": [(0, 0, 0), (R_CUT, 0, 0), (0, 2, 0)],
    "next to the cutoff": [(0, 0, 0), (R_CUT - 1e-6, 0, 0), (R_CUT + 1e-6, 2e-7, 0)],
    "far away": [(0, 0, 0), (1e4, 0, 0)],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_structures(case: str, dtype: str) -> None:
    """Values as the formulas give them (a vector of no length is at a right angle to all others);
    all derivatives finite, and equal however they are found."""
    positions = np.array(DEGENERATE[case], dtype=float)
    atoms = Atoms(["Pt", "O", "Pt", "H"][: len(positions)], positions)
    with jax.enable_x64(dtype == "float64"):
        seen = neighbors(from_ase(atoms, size=4))
        values, closed, by_autodiff = map(np.asarray, rows_with_jacobians(SMALL, seen))
    assert values.dtype == closed.dtype == dtype
    tight = dtype == "float64"
    np.testing.assert_allclose(
        values[: len(atoms)],
        acsf_rows(SMALL, atoms),
        rtol=1e-9 if tight else 1e-4,
        atol=1e-12 if tight else 1e-5,
    )
    assert np.isfinite(closed).all()
    assert np.isfinite(by_autodiff).all()
    # The derivative of an angle at 1e-5 Angstrom is 1e5: round-off is relative to that.
    size = max(1.0, np.abs(closed).max())
    np.testing.assert_allclose(closed, by_autodiff, atol=size * (1e-11 if tight else 2e-4))
    assert not closed[len(atoms) :].any()
    assert not closed[:, :, len(atoms) :].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_atom_at_the_cutoff_is_out(dtype: str) -> None:
    atoms = Atoms("OPt", [(0, 0, 0), (R_CUT, 0, 0)])
    with jax.enable_x64(dtype == "float64"):
        values, closed, _ = rows_with_jacobians(SMALL, neighbors(from_ase(atoms, size=4)))
    assert not np.asarray(values).any()
    assert not np.asarray(closed).any()


def test_padding_may_hold_anything() -> None:
    atoms = random_cluster(0, 3)
    clean = from_ase(atoms, size=5)
    dirty = Structure(
        positions=clean.positions.at[3:].set(jnp.array([[0.1, 0.2, 0.3], [1e3, -5.0, 0.0]])),
        species=clean.species.at[3:].set(78),
        mask=clean.mask,
    )
    values = [rows(SMALL, structure)[:3] for structure in (clean, dirty)]
    np.testing.assert_array_equal(*values)
    np.testing.assert_allclose(rows(SMALL, from_ase(atoms)), values[0], rtol=1e-6)


def test_an_element_without_a_channel_is_not_seen() -> None:
    config = ACSF(elements=("O",), r_cut=5.0)
    with_hydrogen = Atoms("OHO", [(0, 0, 0), (1, 0, 0), (0, 2, 0)])
    seen = padded_rows(config, with_hydrogen, "float32")[[0, 2]]
    np.testing.assert_allclose(seen, padded_rows(config, with_hydrogen[[0, 2]], "float32"))


@pytest.mark.parametrize("r_cut", [3.0, 20.0])
def test_cutoff_and_its_slope(r_cut: float) -> None:
    r = np.linspace(0.0, 1.5 * r_cut, 301)
    with jax.enable_x64(True):
        value, slope = map(np.asarray, cosine(jnp.asarray(r), r_cut))
        slope_of = jax.vmap(jax.grad(lambda r: cosine(r, r_cut)[0]))
        by_autodiff = np.asarray(slope_of(jnp.asarray(r)))
        ends = np.asarray(cosine(jnp.array([0.0, r_cut / 2, r_cut]), r_cut))
    # Half of one plus the cosine is the square of the cosine of the half.
    expected = np.where(r < r_cut, np.cos(np.pi * r / (2 * r_cut)) ** 2, 0.0)
    np.testing.assert_allclose(value, expected, atol=1e-15)
    np.testing.assert_allclose(slope, by_autodiff, atol=1e-15)
    np.testing.assert_allclose(slope[1:-1], np.gradient(value, r)[1:-1], atol=5e-3)
    np.testing.assert_allclose(
        ends, [[1.0, 0.5, 0.0], [0.0, -np.pi / (2 * r_cut), 0.0]], atol=1e-15
    )


def test_elements_are_sorted_by_atomic_number_and_once_each() -> None:
    config = ACSF(elements=("Pt", "H", "O", "H"))
    assert config.elements == ("H", "O", "Pt")
    assert config.species == (1, 8, 78)
    assert config == ACSF(elements=("O", "Pt", "H"))
    assert hash(config) == hash(ACSF(elements=("O", "Pt", "H")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ("Pt", "Xx")}, r"expected elements as chemical symbols, got \('Pt', 'Xx'\)"),
        ({"elements": ("X",)}, r"expected elements as chemical symbols, got \('X',\)"),
        ({"elements": ()}, r"expected elements as chemical symbols, got \(\)"),
        ({"r_cut": 0.0}, "expected r_cut > 0 Angstrom, got 0.0"),
        ({"r_cut": -1.0}, "expected r_cut > 0 Angstrom, got -1.0"),
        ({"r_cut": float("nan")}, "expected r_cut > 0 Angstrom, got nan"),
        ({"g2_eta": (1.0, -0.1)}, r"expected g2_eta between 0.0 and inf, got \(1.0, -0.1\)"),
        ({"g2_r_s": (-1.0,)}, r"expected g2_r_s between 0.0 and inf, got \(-1.0,\)"),
        ({"g5_zeta": (0.5,)}, r"expected g5_zeta between 1.0 and inf, got \(0.5,\)"),
        ({"g5_lam": (1.5,)}, r"expected g5_lam between -1.0 and 1.0, got \(1.5,\)"),
        ({"g5_lam": (-1.5,)}, r"expected g5_lam between -1.0 and 1.0, got \(-1.5,\)"),
        ({"g5_eta": (-1.0,)}, r"expected g5_eta between 0.0 and inf, got \(-1.0,\)"),
        ({"g5_eta": (float("nan"),)}, r"expected g5_eta between 0.0 and inf, got \(nan,\)"),
        ({"g2_eta": (), "g5_eta": ()}, "expected parameters of at least one G2 or G5 function"),
        ({"g2_r_s": (), "g5_zeta": ()}, "expected parameters of at least one G2 or G5 function"),
    ],
)
def test_parameters_out_of_range(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ACSF(**{"elements": ("Pt",), **changes})


@pytest.mark.parametrize("missing", ["g2_eta", "g5_zeta"])
def test_one_kind_alone(missing: str) -> None:
    """A set without radial or without angular functions is a set."""
    config = ACSF(elements=("O", "Pt"), r_cut=5.0, **{missing: ()})
    atoms = random_cluster(2, 4, ("O", "Pt"))
    with jax.enable_x64(True):
        seen = neighbors(from_ase(atoms))
        values, jacobian = config.with_jacobian(seen)
        np.testing.assert_allclose(config(seen), acsf_rows(config, atoms), rtol=1e-11, atol=1e-14)
    assert values.shape == (4, len(config.names))
    assert jacobian.shape == (4, len(config.names), 4, 3)
    np.testing.assert_allclose(values, acsf_rows(config, atoms), rtol=1e-11, atol=1e-14)

"""Rows of all symmetry functions: values, layout, elements, blocks and singular geometries."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import read
from hypothesis import example, given
from reference import acsf_rows, displacements, dscribe_rows
from strategies import clusters, crystals, random_cluster, random_crystal

from jaxrecon import ACSF, Fingerprint, featurize
from jaxrecon.bounds import bounds_of
from jaxrecon.compositions import elements_of
from jaxrecon.descriptors import acsf
from jaxrecon.space import Neighbors, image_neighbors, neighbors
from jaxrecon.structures import Structure, from_ase

# The published parameters of Fung et al., written down here a second time.
ETA2 = (0.01, 0.06, 0.1, 0.2, 0.4, 0.7, 1, 2, 3.5, 5)
R_S = (0, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10)
ZETA = (1, 2, 4, 16, 64)
LAM = (-1, 1)
ETA5 = (0.06, 0.1, 0.2, 0.4, 1)

# Not an eta, a lambda or a zeta twice: each has to be at its place.
PLAIN = ACSF(
    elements=("H", "O", "Pt"),
    r_cut=5.0,
    g1=True,
    g2_eta=(0.05, 1.0),
    g2_r_s=(0.0, 1.5, 3.0),
    g3_kappa=(0.7, 2.0),
    g4_zeta=(1, 4),
    g4_lam=(-1, 1),
    g4_eta=(0.02, 0.2),
    g5_zeta=(2, 16),
    g5_lam=(-1, 0.5, 1),
    g5_eta=(0.05, 0.3, 0.1),
)
SHIFTED = replace(
    PLAIN,
    g4_r_s=(0.0, 1.5),
    g5_zeta=(1, 2.5),
    g5_eta=(0.05, 0.3),
    g5_r_s=(2.5, 0.5),
    cutoff="tanh3",
)
WEIGHTED = replace(SHIFTED, weighted=True)
SETS = {"plain": PLAIN, "shifted": SHIFTED, "weighted": WEIGHTED}
PADDED = 12


@partial(jax.jit, static_argnums=0)
def rows(config: ACSF, structure: Structure) -> jax.Array:
    if structure.bounds is None:
        return config(neighbors(structure))
    return config(image_neighbors(structure, config.r_cut))


def assert_rows(config: ACSF, structure: Structure, expected: np.ndarray) -> None:
    """In float64 each number to 1e-9; in float32 to 1e-5 beside the largest."""
    n = len(expected)
    values = np.asarray(rows(config, structure))[:n]
    largest = np.abs(expected).max(initial=1.0)
    if values.dtype == np.float64:
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-13 * largest)
    else:
        np.testing.assert_allclose(values, expected, rtol=0.0, atol=1e-5 * largest)


def in_both_precisions(config: ACSF, atoms: Atoms, expected: np.ndarray, **sizes: object) -> None:
    for double in (True, False):
        with jax.enable_x64(double):
            assert_rows(config, from_ase(atoms, **{"size": PADDED, **sizes}), expected)


@pytest.mark.parametrize("name", SETS)
@given(atoms=clusters(largest=PADDED))
@example(atoms=random_cluster(0, PADDED))
@example(atoms=random_cluster(1, 2))
def test_clusters(name: str, atoms: Atoms) -> None:
    in_both_precisions(SETS[name], atoms, acsf_rows(SETS[name], atoms))


@pytest.mark.parametrize("name", ["plain", "weighted"])
@given(atoms=crystals(largest=PADDED))
@example(atoms=random_crystal(0, PADDED))
def test_crystals_in_the_minimum_image(name: str, atoms: Atoms) -> None:
    in_both_precisions(SETS[name], atoms, acsf_rows(SETS[name], atoms))


@pytest.mark.parametrize("atoms", [2, 5, PADDED])
def test_dscribe(atoms: int) -> None:
    cluster = random_cluster(atoms, atoms)
    in_both_precisions(PLAIN, cluster, dscribe_rows(PLAIN, cluster))


def test_dscribe_of_the_published_set() -> None:
    config = ACSF(elements=("Pt",))
    cluster = random_cluster(0, PADDED, ("Pt",))
    in_both_precisions(config, cluster, dscribe_rows(config, cluster))


def test_dscribe_with_all_images() -> None:
    """Cells narrower than the cutoff: an atom sees its own images and several of the others."""
    some = [random_crystal(seed, 1 + 2 * seed) for seed in range(4)]
    bounds = bounds_of(some, PLAIN.r_cut)
    for atoms in some:
        in_both_precisions(PLAIN, atoms, dscribe_rows(PLAIN, atoms), size=7, bounds=bounds)


def test_weighted_sums_of_dscribe() -> None:
    """Each channel of DScribe counts its atomic number, each pair of elements their product."""
    weighted = replace(PLAIN, weighted=True)
    numbers = [float(atomic_numbers[symbol]) for symbol in PLAIN.elements]
    radial, angular = 9, 2 * 2 * 2 + 2 * 3 * 3
    for atoms in [random_cluster(7, PADDED), random_crystal(7, 5)]:
        channels = dscribe_rows(PLAIN, atoms)
        split = channels[:, : 3 * radial].reshape(len(atoms), 3, radial)
        pairs = channels[:, 3 * radial :].reshape(len(atoms), 6, angular)
        products = [numbers[a] * numbers[b] for a in range(3) for b in range(a, 3)]
        expected = np.concatenate(
            [np.einsum("c,icf->if", numbers, split), np.einsum("p,ipf->if", products, pairs)],
            axis=1,
        )
        bounds = bounds_of([atoms], PLAIN.r_cut) if atoms.pbc.any() else None
        with jax.enable_x64(True):
            assert_rows(weighted, from_ase(atoms, bounds=bounds), expected)


@pytest.mark.parametrize("name", ["qm7_500", "mp_200", "perov5_200"])
def test_published_structures(name: str, data: Path) -> None:
    """Molecules and crystals of many elements, in the way users take, against DScribe."""
    structures = read(data / f"{name}.extxyz", ":")
    config = ACSF(
        elements=elements_of(structures),
        r_cut=6.0,
        g1=True,
        g2_eta=(0.05, 4.0),
        g2_r_s=(0.0, 2.5),
        g3_kappa=(1.5,),
        g4_zeta=(1, 4),
        g4_eta=(0.03,),
        g5_zeta=(1, 4),
        g5_eta=(0.03,),
    )
    slots = max(map(len, structures))
    fingerprint = Fingerprint(config, ("none",), slots=slots)
    for start in range(0, len(structures), 50):
        some = structures[start : start + 50]
        values = featurize(some, fingerprint).reshape(len(some), slots, -1)
        for value, atoms in zip(values, some, strict=True):
            expected = dscribe_rows(config, atoms)
            np.testing.assert_allclose(value[: len(atoms)], expected, rtol=1e-5, atol=1e-9)
            assert not value[len(atoms) :].any()


R_CUT = PLAIN.r_cut
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
    "third side at the cutoff": [(0, 0, 0), (R_CUT / 2, 0, 0), (-R_CUT / 2, 0, 0)],
    "next to the cutoff": [(0, 0, 0), (R_CUT - 1e-6, 0, 0), (R_CUT + 1e-6, 2e-7, 0)],
    "far away": [(0, 0, 0), (1e4, 0, 0)],
}


@partial(jax.jit, static_argnums=0)
def derivatives(config: ACSF, seen: Neighbors) -> tuple[jax.Array, ...]:
    """Rows and Jacobian in closed form; rows and Jacobian by differentiating; one pull-back."""

    def one(vectors: jax.Array, species: jax.Array, mask: jax.Array) -> jax.Array:
        return config(Neighbors(vectors[None], species[None], mask[None]))[0]

    forward = jax.vmap(jax.jacfwd(one))(seen.vectors, seen.species, seen.mask)
    values, pull = jax.vjp(lambda vectors: config(seen._replace(vectors=vectors)), seen.vectors)
    return *config.with_jacobian(seen), values, forward, *pull(jnp.ones_like(values))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["shifted", "weighted"])
def test_degenerate_structures(name: str, dtype: str) -> None:
    """Values as the formulas give them (a vector of no length is at a right angle to all others);
    all derivatives finite, and equal however they are found."""
    config, tight = SETS[name], dtype == "float64"
    for case, positions in DEGENERATE.items():
        atoms = Atoms(["Pt", "O", "Pt", "H"][: len(positions)], np.array(positions, float))
        n, expected = len(atoms), acsf_rows(config, atoms)
        with jax.enable_x64(tight):
            found = derivatives(config, neighbors(from_ase(atoms, size=4)))
        value, closed, again, forward, backward = map(np.asarray, found)
        assert value.dtype == closed.dtype == dtype
        assert all(np.isfinite(array).all() for array in (closed, forward, backward)), case
        scale = np.abs(expected).max(initial=1.0)
        for values in (value, again):
            np.testing.assert_allclose(
                values[:n], expected, rtol=0, atol=scale * (1e-11 if tight else 1e-5), err_msg=case
            )
        # The derivative of an angle at 1e-5 Angstrom is 1e5: round-off is relative to that.
        off = np.abs(closed).max(initial=scale) * (1e-11 if tight else 2e-4)
        np.testing.assert_allclose(closed, forward, rtol=0, atol=off, err_msg=case)
        off *= config.size
        np.testing.assert_allclose(closed.sum(axis=1), backward, rtol=0, atol=off, err_msg=case)
        assert not closed[n:].any()
        assert not closed[:, :, n:].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_atom_at_the_cutoff_is_out(dtype: str) -> None:
    atoms = Atoms("OPt", [(0, 0, 0), (R_CUT, 0, 0)])
    with jax.enable_x64(dtype == "float64"):
        found = derivatives(SHIFTED, neighbors(from_ase(atoms, size=4)))
    assert not any(np.asarray(array).any() for array in found)


def test_one_atom_without_padding() -> None:
    for config in (SHIFTED, WEIGHTED):
        found = derivatives(config, neighbors(from_ase(Atoms("Pt", [(1, 2, 3)]))))
        assert [array.shape[:2] for array in found[:4]] == [(1, config.size)] * 4
        assert not any(np.asarray(array).any() for array in found)


@pytest.mark.parametrize("name", ["plain", "weighted"])
def test_padding_may_hold_anything(name: str) -> None:
    atoms = random_cluster(0, 3)
    clean = from_ase(atoms, size=PADDED)
    noise = np.random.default_rng(0).normal(size=(PADDED - 3, 3))
    dirty = Structure(
        positions=clean.positions.at[3:].set(noise),
        species=clean.species.at[3:].set(78),
        mask=clean.mask,
    )
    values = [np.asarray(rows(SETS[name], structure))[:3] for structure in (clean, dirty)]
    assert values[0].any()
    np.testing.assert_array_equal(*values)


ELEMENTS = ("H", "C", "O", "Pt")


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_of_some_elements(weighted: bool) -> None:
    """They are the columns of those elements, as if the atoms of others were not there."""
    config = replace(
        PLAIN, elements=ELEMENTS, weighted=weighted, g4_zeta=(1,), g5_lam=(-1,), g5_eta=(0.1,)
    )
    atoms = random_cluster(5, 8, ELEMENTS)
    assert set(atoms.symbols) == set(ELEMENTS)

    @jax.jit
    def spread(elements: jax.Array, seen: Neighbors) -> tuple[jax.Array, ...]:
        columns = config.columns(elements)
        some = config(seen, elements)
        same, jacobian = config.with_jacobian(seen, elements)
        whole = jnp.zeros((len(atoms), config.size)).at[:, columns].set(some, mode="drop")
        return whole, some, same, jacobian, columns

    with jax.enable_x64(True):
        seen = neighbors(from_ase(atoms))
        for chosen in [(1, 8, 0), (6, 78, 0), (8, 0, 0), (1, 6, 78), (6, 8, 78), (1, 9, 78)]:
            there = [symbol for symbol in ELEMENTS if atomic_numbers[symbol] in chosen]
            alone = replace(config, elements=tuple(there))
            found = spread(jnp.asarray(chosen), seen)
            whole, some, same, jacobian, columns = map(np.asarray, found)
            expected = np.zeros((len(atoms), config.size))
            expected[:, [config.names.index(name) for name in alone.names]] = acsf_rows(
                alone, atoms
            )
            np.testing.assert_allclose(whole, expected, rtol=1e-9, atol=1e-12, err_msg=str(chosen))
            np.testing.assert_allclose(same, some, rtol=1e-12, atol=1e-12)
            used = columns[columns < config.size]
            assert len(set(used.tolist())) == len(used) == alone.size
            # No derivative by the position of an atom that is not seen.
            unseen = [symbol not in there for symbol in atoms.symbols]
            assert not jacobian[:, :, unseen].any()
            assert jacobian[:, :, np.logical_not(unseen)].any()


def test_places_of_elements() -> None:
    place, known = PLAIN.places(jnp.array([1, 8, 78, 0, 2, 9, 79]))
    assert known.tolist() == [True, True, True, False, False, False, False]
    assert place[:3].tolist() == [0, 1, 2]


def test_an_element_without_a_channel_is_not_seen() -> None:
    for config in (replace(SHIFTED, elements=("O",)), replace(WEIGHTED, elements=("O",))):
        atoms = Atoms("OHO", [(0, 0, 0), (1, 0, 0), (0, 2, 0)])
        in_both_precisions(config, atoms, acsf_rows(config, atoms))


def test_more_atoms_than_a_block() -> None:
    """Blocks are computed one after the other; what they hold does not depend on the others."""
    config = ACSF(
        elements=("H", "Pt"),
        r_cut=5.0,
        g2_eta=(1.0,),
        g2_r_s=(0, 2),
        g4_zeta=(1,),
        g4_eta=(0.1,),
        g5_zeta=(),
    )
    cluster = random_cluster(0, acsf.BLOCK + 6, ("H", "Pt"))
    # Eight of the neighbours will do.
    near = np.argsort(np.linalg.norm(displacements(cluster), axis=-1), axis=1)[:, 1:9]

    @jax.jit
    def found(seen: Neighbors) -> tuple[jax.Array, ...]:
        values, pull = jax.vjp(lambda v: config(seen._replace(vectors=v)), seen.vectors)
        return values, *config.with_jacobian(seen), *pull(jnp.ones_like(values))

    with jax.enable_x64(True):
        vectors = jnp.asarray(np.take_along_axis(displacements(cluster), near[:, :, None], axis=1))
        species = jnp.asarray(cluster.numbers[near], jnp.int32)
        whole = found(Neighbors(vectors, species, jnp.ones(near.shape, bool)))
        half = len(cluster) // 2
        pieces = [
            found(Neighbors(vectors[part], species[part], jnp.ones((half, 8), bool)))
            for part in (slice(half), slice(half, None))
        ]
    assert np.abs(whole[0]).max() > 1
    for one, two in zip(whole, zip(*pieces, strict=True), strict=True):
        np.testing.assert_allclose(one, np.concatenate(two), rtol=1e-11, atol=1e-12)


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


def read_off(name: str, numbers: list[str]) -> ACSF:
    """The set of the one function that a name describes."""
    kind, channel = name.split()[0].rstrip("]").split("[")
    values = {key: (float(number),) for key, number in (text.split("=") for text in numbers)}
    own = {f"{kind.lower()}_{key}": value for key, value in values.items()}
    none = {"g2_eta": (), "g3_kappa": (), "g4_zeta": (), "g5_zeta": ()}
    weighted = channel in ("Z", "Z,Z")
    return ACSF(
        elements=PLAIN.elements if weighted else tuple(channel.split(",")),
        r_cut=PLAIN.r_cut,
        **{**none, **own},
        g1=kind == "G1",
        cutoff="tanh3",
        weighted=weighted,
    )


@pytest.mark.parametrize("name", ["shifted", "weighted"])
def test_one_feature_at_a_time(name: str) -> None:
    """Each number of the full set is the number that its name says, computed alone."""
    config, atoms = SETS[name], random_cluster(3, 5)
    assert len(set(config.names)) == len(config.names) == config.size
    with jax.enable_x64(True):
        values = np.asarray(rows(config, from_ase(atoms, size=PADDED)))
    for feature, value in zip(config.names, values[: len(atoms)].T, strict=True):
        alone = read_off(feature, feature.split()[1:])
        expected = acsf_rows(alone, atoms)
        # Two elements alone have three pairs: theirs is the one in the middle.
        column = 1 if len(alone.elements) == 2 else 0
        np.testing.assert_allclose(value, expected[:, column], rtol=1e-9, atol=1e-12)


def test_two_body_before_three_body_and_kinds_side_by_side() -> None:
    kinds = [name.split()[0] for name in replace(PLAIN, elements=("O", "Pt")).names]
    runs = [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind]
    expected = [f"G{g}[{element}]" for element in ("O", "Pt") for g in (1, 2, 3)]
    expected += [f"G{g}[{pair}]" for pair in ("O,O", "O,Pt", "Pt,Pt") for g in (4, 5)]
    assert runs == expected


@pytest.mark.parametrize("missing", [("g2_eta",), ("g5_zeta",), ("g2_r_s",), ("g5_lam",)])
def test_one_kind_alone(missing: tuple[str, ...]) -> None:
    """A set without two-body or without three-body functions is a set."""
    config = ACSF(elements=("O", "Pt"), r_cut=5.0, **dict.fromkeys(missing, ()))
    atoms = random_cluster(2, 4, ("O", "Pt"))
    with jax.enable_x64(True):
        structure = from_ase(atoms)
        values, jacobian = jax.jit(config.with_jacobian)(neighbors(structure))
        assert_rows(config, structure, acsf_rows(config, atoms))
    assert values.shape == (4, config.size)
    assert jacobian.shape == (4, config.size, 4, 3)
    np.testing.assert_allclose(values, acsf_rows(config, atoms), rtol=1e-10, atol=1e-14)


def test_elements_are_sorted_by_atomic_number_and_once_each() -> None:
    config = ACSF(elements=("Pt", "H", "O", "H"))
    assert config.elements == ("H", "O", "Pt")
    assert config.species == (1, 8, 78)
    assert config == ACSF(elements=("O", "Pt", "H"))
    assert hash(config) == hash(ACSF(elements=("O", "Pt", "H")))


RANGES = {
    **{f"g{g}_eta": (0.0, np.inf) for g in (2, 4, 5)},
    **{f"g{g}_r_s": (0.0, np.inf) for g in (2, 4, 5)},
    **{f"g{g}_zeta": (1.0, np.inf) for g in (4, 5)},
    **{f"g{g}_lam": (-1.0, 1.0) for g in (4, 5)},
    "g3_kappa": (0.0, np.inf),
}


@pytest.mark.parametrize("name", RANGES)
def test_numbers_out_of_range(name: str) -> None:
    low, high = RANGES[name]
    accepted = (low, min(high, 1e3))
    others = {"g3_kappa": (1,), "g4_zeta": (1,), "g4_eta": (0.1,)}
    config = ACSF(elements=("Pt",), **{**others, name: tuple(map(int, accepted))})
    assert getattr(config, name) == accepted
    assert all(type(value) is float for value in getattr(config, name))
    for wrong in (low - 1e-6, high * (1 + 1e-6), float("nan")):
        message = rf"expected {name} between {low} and {high}, got \({low}, {wrong}\)"
        with pytest.raises(ValueError, match=message):
            ACSF(elements=("Pt",), **{**others, name: (low, wrong)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ("Pt", "Xx")}, r"expected elements as chemical symbols, got \('Pt', 'Xx'\)"),
        ({"elements": ("X",)}, r"expected elements as chemical symbols, got \('X',\)"),
        ({"elements": ()}, r"expected elements as chemical symbols, got \(\)"),
        ({"r_cut": 0.0}, "expected r_cut > 0 Angstrom, got 0.0"),
        ({"r_cut": -1.0}, "expected r_cut > 0 Angstrom, got -1.0"),
        ({"r_cut": float("nan")}, "expected r_cut > 0 Angstrom, got nan"),
        ({"r_cut": float("inf")}, "expected r_cut > 0 Angstrom, got inf"),
        ({"cutoff": "cos"}, r"expected cutoff among \('cosine', 'tanh3'\), got 'cos'"),
        ({"g2_eta": (), "g5_eta": ()}, "expected parameters of at least one function, got none"),
        ({"g2_r_s": (), "g5_zeta": ()}, "expected parameters of at least one function, got none"),
        ({"g2_r_s": (), "g5_lam": ()}, "expected parameters of at least one function, got none"),
        ({"g2_r_s": (), "g5_r_s": ()}, "expected parameters of at least one function, got none"),
    ],
)
def test_parameters_out_of_range(changes: dict[str, object], message: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        ACSF(**{"elements": ("Pt",), **changes})


@pytest.mark.parametrize("only", [{"g1": True}, {"g3_kappa": (1.0,)}])
def test_one_function_is_enough(only: dict[str, object]) -> None:
    assert ACSF(elements=("Pt",), g2_eta=(), g5_eta=(), **only).size == 1

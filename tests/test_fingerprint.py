"""Fingerprint as a value and as a function, its files, and featurize."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from reference import acsf_rows
from strategies import random_cluster, random_crystal

import jaxrecon.fingerprint
from jaxrecon import ACSF, Fingerprint, featurize, from_ase
from jaxrecon.compositions import composition_of, elements_of
from jaxrecon.fingerprint import PRESETS
from jaxrecon.objectives import mean_absolute_residual
from jaxrecon.space import bounds_of, neighbors
from jaxrecon.structures import Structure, stack

ROOT = Path(__file__).parents[1]


def small(elements: tuple[str, ...] = ("H", "O", "Pt"), **changes: object) -> Fingerprint:
    descriptor = ACSF(
        elements=elements,
        r_cut=5.0,
        g2_eta=(0.5,),
        g2_r_s=(0.5, 1.5, 2.5),
        g5_zeta=(1, 4),
        g5_eta=(0.1,),
    )
    return Fingerprint(descriptor, **changes)


SMALL = small()


def test_published_set_for_one_element() -> None:
    fingerprint = Fingerprint.preset("fung2022", "H")
    names = fingerprint.names
    assert len(names) == len(set(names)) == fingerprint.size == 380
    assert names[0] == "max G2[H] eta=0.01 r_s=0"
    assert names[13:15] == ("max G2[H] eta=0.01 r_s=10", "max G2[H] eta=0.06 r_s=0")
    assert names[139:141] == ("max G2[H] eta=5 r_s=10", "max G5[H,H] zeta=1 lam=-1 eta=0.06")
    assert names[145] == "max G5[H,H] zeta=1 lam=1 eta=0.06"
    assert names[189:191] == ("max G5[H,H] zeta=64 lam=1 eta=1", "min G2[H] eta=0.01 r_s=0")
    assert names[379] == "min G5[H,H] zeta=64 lam=1 eta=1"
    assert fingerprint.images == "minimum"


@pytest.mark.parametrize("name", PRESETS)
def test_names_of_several_elements(name: str) -> None:
    fingerprint = Fingerprint.preset(name, ["Pt", "H", "O"])
    descriptor = fingerprint.descriptor
    radial = len(descriptor.g2_eta) * len(descriptor.g2_r_s)
    angular = len(descriptor.g5_zeta) * len(descriptor.g5_lam) * len(descriptor.g5_eta)
    assert (
        fingerprint.size
        == len(fingerprint.names)
        == len(fingerprint.poolings) * (3 * radial + 6 * angular)
    )
    assert len(set(fingerprint.names)) == fingerprint.size
    kinds = [text.split(" ")[1] for text in fingerprint.names[: 3 * radial + 6 * angular]]
    channels = ["H,H", "H,O", "H,Pt", "O,O", "O,Pt", "Pt,Pt"]
    expected = [f"G2[{symbol}]" for symbol in ("H", "O", "Pt") for _ in range(radial)]
    assert kinds == expected + [f"G5[{pair}]" for pair in channels for _ in range(angular)]


def test_the_numbers_are_the_extremes_of_the_rows() -> None:
    """Against loops over atoms: the order of kinds and features too."""
    fingerprint = Fingerprint.preset("fung2022", ["O", "Pt"])
    atoms = random_cluster(5, 6, ("O", "Pt"))
    rows = acsf_rows(fingerprint.descriptor, atoms)
    expected = np.concatenate([rows.max(axis=0), rows.min(axis=0)])
    np.testing.assert_allclose(featurize(atoms, fingerprint)[0], expected, rtol=1e-11, atol=1e-14)
    swapped = Fingerprint(fingerprint.descriptor, ("min", "max"))
    expected = np.concatenate([rows.min(axis=0), rows.max(axis=0)])
    np.testing.assert_allclose(featurize(atoms, swapped)[0], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("space", "elements"),
    [
        ("free", ("H", "O", "Pt")),
        ("minimum", ("H", "O", "Pt")),
        ("all", ("H", "O", "Pt")),
        ("all", ("Pt",)),
    ],
)
def test_jacobian_by_positions(space: str, elements: tuple[str, ...]) -> None:
    """The closed form, through pooling and images, is forward mode through everything."""
    fingerprint = small(elements, images="minimum" if space == "minimum" else "all")
    atoms = random_cluster(2, 5, elements) if space == "free" else random_crystal(2, 4, elements)
    images = bounds_of([atoms], 5.0) if space == "all" else None
    with jax.enable_x64(True):
        structure = from_ase(atoms, len(atoms) + 1, images)

        def at(positions: jax.Array) -> Structure:
            return dataclasses.replace(structure, positions=positions)

        value, closed = jax.jit(lambda x: fingerprint.with_jacobian(at(x)))(structure.positions)
        by_autodiff = jax.jit(jax.jacfwd(lambda x: fingerprint(at(x))))(structure.positions)
        np.testing.assert_allclose(value, fingerprint(structure), rtol=1e-12, atol=1e-14)
    assert np.abs(closed).max() > 0.1
    np.testing.assert_allclose(closed, by_autodiff, rtol=1e-10, atol=1e-12)
    # Rigid translation changes nothing.
    np.testing.assert_allclose(np.asarray(closed).sum(axis=1), 0.0, atol=1e-12)


def moving(fingerprint: Fingerprint) -> tuple[Structure, jax.Array]:
    """A padded structure in which atoms tie, and a target that it does not have."""
    square = [(0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0), (1, 1, 1.7)]
    rng = np.random.default_rng(0)
    target = featurize(Atoms("O4H", square), fingerprint)[0] + rng.normal(size=fingerprint.size) / 3
    return from_ase(Atoms("O4H", square), size=6), jnp.asarray(target)


def test_normal_equations(x64: None) -> None:
    """Of the residual vector, from its Jacobian in forward mode."""
    structure, target = moving(SMALL)
    structure = dataclasses.replace(
        structure,
        positions=structure.positions + jnp.asarray(np.random.default_rng(1).random((6, 3)) / 9),
    )
    equations = jax.jit(SMALL.normal_equations)(structure, target)
    jacobian = np.asarray(jax.jit(jax.jacfwd(lambda x: _at(structure, x)))(structure.positions))
    jacobian, residual = jacobian.reshape(-1, 18), np.asarray(SMALL(structure) - target)
    np.testing.assert_allclose(equations.gram, jacobian.T @ jacobian, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(equations.gradient, jacobian.T @ residual, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(equations.squared, residual @ residual, rtol=1e-12)
    np.testing.assert_allclose(equations.residual, np.abs(residual).mean(), rtol=1e-12)


def test_equations_of_all_atoms_that_are_bound(x64: None) -> None:
    """Where atoms tie too: entry by entry, each row's Jacobian in forward mode."""
    structure, target = moving(SMALL)

    def rows(positions: jax.Array) -> jax.Array:
        return SMALL.descriptor(neighbors(dataclasses.replace(structure, positions=positions)))

    equations = jax.jit(SMALL.bound_equations)(structure, target)
    values = np.asarray(rows(structure.positions))[:5]
    jacobian = np.asarray(jax.jit(jax.jacfwd(rows))(structure.positions)).reshape(6, -1, 18)
    features = values.shape[1]
    gram, gradient, squared = np.zeros((18, 18)), np.zeros(18), 0.0
    for p, wanted in enumerate(np.asarray(target)):
        column, sign = values[:, p % features], 1 if p < features else -1
        winner = (sign * column).argmax()
        for atom, value in enumerate(column):
            if atom == winner or sign * (value - wanted) > 0:
                slope = jacobian[atom, p % features]
                gram += np.outer(slope, slope)
                gradient += (value - wanted) * slope
                squared += (value - wanted) ** 2
    np.testing.assert_allclose(equations.gram, gram, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(equations.gradient, gradient, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(equations.squared, squared, rtol=1e-12)
    residual = np.abs(SMALL(structure) - target).mean()
    np.testing.assert_allclose(equations.residual, residual, rtol=1e-12)
    at_home = SMALL.bound_equations(structure, SMALL(structure))
    assert at_home.squared == at_home.residual == 0
    assert not at_home.gradient.any()


@pytest.mark.parametrize("space", ["free", "minimum", "all"])
def test_gradient_of_the_loss_is_the_difference_quotient(space: str) -> None:
    fingerprint = small(images="minimum" if space == "minimum" else "all")
    atoms = random_cluster(3, 5) if space == "free" else random_crystal(3, 4)
    images = bounds_of([atoms], 5.1) if space == "all" else None
    step, rng = 1e-5, np.random.default_rng(0)
    target = featurize(atoms, fingerprint)[0] + rng.normal(size=fingerprint.size)
    with jax.enable_x64(True):
        structure, target = from_ase(atoms, bounds=bounds), jnp.asarray(target)

        @jax.jit
        def loss(positions: jax.Array) -> jax.Array:
            moved = dataclasses.replace(structure, positions=positions)
            return mean_absolute_residual(fingerprint(moved), target)

        gradient = np.asarray(jax.jit(jax.grad(loss))(structure.positions))
        quotient = np.zeros_like(gradient)
        for index in np.ndindex(*gradient.shape):
            ends = [np.array(structure.positions) for _ in range(2)]
            ends[0][index] += step
            ends[1][index] -= step
            high, low = (float(loss(jnp.asarray(end))) for end in ends)
            quotient[index] = (high - low) / (2 * step)
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(gradient, quotient, atol=1e-7 * np.abs(gradient).max() + 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "positions",
    [
        [(0, 0, 0)],
        [(0, 0, 0), (1.5, 0, 0)],
        [(1, 1, 1), (1, 1, 1)],
        [(0, 0, 0), (0, 0, 0), (1, 1, 0)],
        [(-1.5, 0, 0), (0, 0, 0), (1.5, 0, 0)],
        [(0, 0, 0), (5.0, 0, 0), (9.0, 0, 0)],
    ],
)
def test_slopes_at_singular_structures_are_finite(
    positions: list[tuple[float, float, float]], dtype: str
) -> None:
    with jax.enable_x64(dtype == "float64"):
        structure = from_ase(Atoms(f"O{len(positions)}", positions), size=3)
        for derivative in _derivatives(SMALL, structure):
            assert derivative.dtype == dtype
            assert np.isfinite(derivative).all()


def _at(structure: Structure, positions: jax.Array) -> jax.Array:
    return SMALL(dataclasses.replace(structure, positions=positions))


@partial(jax.jit, static_argnums=0)
def _derivatives(fingerprint: Fingerprint, structure: Structure) -> tuple[jax.Array, ...]:
    def value(positions: jax.Array) -> jax.Array:
        return fingerprint(dataclasses.replace(structure, positions=positions))

    x, target = structure.positions, jnp.ones(fingerprint.size, structure.positions.dtype)
    loss = jax.grad(lambda x: mean_absolute_residual(value(x), target))(x)
    forward, reverse = jax.jacfwd(value)(x), jax.jacrev(value)(x)
    return loss, forward, reverse, fingerprint.with_jacobian(structure)[1]


def test_blame_adds_up_and_finds_the_culprit() -> None:
    atoms = Atoms("O4", [(0, 0, 0), (1.5, 0, 0), (0, 1.5, 0), (0.5, 0.5, 1.3)])
    fingerprint = small(("O",))
    target = featurize(atoms, fingerprint)[0]
    atoms.positions[2] += (0, 2.5, 0)
    rows = acsf_rows(fingerprint.descriptor, atoms)
    value = np.concatenate([rows.max(axis=0), rows.min(axis=0)])
    winners = np.concatenate([rows.argmax(axis=0), rows.argmin(axis=0)])
    expected = [np.abs(value - target)[winners == atom].sum() for atom in range(4)]
    with jax.enable_x64(True):
        blame = np.asarray(fingerprint.blame(from_ase(atoms), jnp.asarray(target)))
        at_home = np.asarray(fingerprint.blame(from_ase(atoms), jnp.asarray(value)))
    np.testing.assert_allclose(blame, expected, rtol=1e-10)
    assert blame.argmax() == 2
    np.testing.assert_allclose(at_home, 0.0, atol=1e-12)


def test_under_the_transformations() -> None:
    structures = [from_ase(random_cluster(seed, 4)) for seed in range(3)]
    one_by_one = np.stack([np.asarray(SMALL(structure)) for structure in structures])
    mapped = jax.jit(jax.vmap(SMALL))(stack(structures))
    np.testing.assert_allclose(mapped, one_by_one, rtol=1e-6, atol=1e-7)
    static = jax.jit(lambda fingerprint, s: fingerprint(s), static_argnums=0)
    np.testing.assert_allclose(static(SMALL, structures[0]), one_by_one[0], rtol=1e-6, atol=1e-7)
    slopes = jax.jit(jax.vmap(jax.grad(lambda x, s: _at(s, x).sum()), in_axes=(0, None)))
    batch = jnp.stack([structure.positions for structure in structures])
    assert np.abs(slopes(batch, structures[0])).max(axis=(1, 2)).min() > 0.01


def test_equal_values_share_a_compiled_program() -> None:
    traces = []

    @partial(jax.jit, static_argnums=0)
    def compiled(fingerprint: Fingerprint, structure: Structure) -> jax.Array:
        traces.append(fingerprint)
        return fingerprint(structure)

    structure = from_ase(Atoms("OPt", [(0, 0, 0), (0, 0, 2)]))
    compiled(small(), structure)
    compiled(small(("Pt", "O", "H")), structure)
    assert len(traces) == 1
    compiled(small(poolings=("min",)), structure)
    assert len(traces) == 2


DIFFERENT = [
    small(poolings=("max",)),
    small(poolings=("min", "max")),
    small(images="minimum"),
    small(("H", "O")),
    *(
        Fingerprint(dataclasses.replace(SMALL.descriptor, **change))
        for change in (
            {"r_cut": 5.0001},
            {"g2_eta": (0.5, 0.6)},
            {"g2_r_s": (1.5, 0.5, 2.5)},
            {"g5_zeta": (1, 5)},
            {"g5_lam": (1, -1)},
            {"g5_eta": (0.1 + 1e-9,)},
        )
    ),
]


def test_digests_tell_apart_what_differs_and_nothing_else() -> None:
    everything = [SMALL, *DIFFERENT, *(Fingerprint.preset(name, "HO") for name in PRESETS)]
    assert len({item.digest() for item in everything}) == len(everything)
    assert len({hash(item) for item in everything}) == len(everything)
    whole = ACSF(elements=("O", "H"), r_cut=5, g2_eta=(1,), g2_r_s=(2,), g5_zeta=(4,))
    same = ACSF(elements=("H", "O"), r_cut=5.0, g2_eta=(1.0,), g2_r_s=(2.0,), g5_zeta=(4.0,))
    assert Fingerprint(whole) == Fingerprint(same)
    assert Fingerprint(whole).digest() == Fingerprint(same).digest()
    assert hash(Fingerprint(whole)) == hash(Fingerprint(same))


def test_digest_is_the_same_in_another_process() -> None:
    code = (
        "from jaxrecon import Fingerprint\n"
        "print(Fingerprint.preset('fung2022', {'O', 'H', 'Pt', 'Au', 'C', 'N'}).digest())"
    )
    expected = Fingerprint.preset("fung2022", ["H", "C", "N", "O", "Pt", "Au"]).digest()
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == expected


@pytest.mark.parametrize("fingerprint", [SMALL, *DIFFERENT])
def test_there_and_back_through_json(fingerprint: Fingerprint) -> None:
    again = Fingerprint.from_json(fingerprint.to_json())
    assert again == fingerprint
    assert again.digest() == fingerprint.digest()
    assert again.names == fingerprint.names
    assert Fingerprint.from_dict(fingerprint.to_dict()) == fingerprint
    plain = json.loads(fingerprint.to_json())
    assert plain["descriptor"] == "acsf"
    assert plain["r_cut"] == fingerprint.descriptor.r_cut


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"descriptor": "soap"}, "expected descriptor 'acsf', got 'soap'"),
        ({"descriptor": None}, "expected descriptor 'acsf', got None"),
        ({"r_cutt": 3.0}, r"expected parameters of \['elements'.*got \['r_cutt'\]"),
        ({"r_cut": -3.0}, "expected r_cut > 0 Angstrom, got -3.0"),
        ({"poolings": ["median"]}, r"expected poolings among \('max', 'min'\), got \('median',\)"),
        ({"poolings": []}, r"expected poolings among \('max', 'min'\), got \(\)"),
        ({"images": "some"}, "expected images 'all' or 'minimum', got 'some'"),
    ],
)
def test_files_of_others_are_refused(
    change: dict[str, object], message: str, unchecked: None
) -> None:
    with pytest.raises(ValueError, match=message):
        Fingerprint.from_dict({**SMALL.to_dict(), **change})


def test_a_file_without_its_family_is_refused() -> None:
    data = SMALL.to_dict()
    del data["descriptor"]
    with pytest.raises(ValueError, match="expected descriptor 'acsf', got None"):
        Fingerprint.from_dict(data)


def test_differences_name_the_parameters() -> None:
    other = Fingerprint(
        dataclasses.replace(SMALL.descriptor, r_cut=6.0, g5_zeta=(1, 2)), ("max",), "minimum"
    )
    found = SMALL.differences(other)
    assert [text.split(":")[0] for text in found] == ["r_cut", "g5_zeta", "poolings", "images"]
    assert found[0] == "r_cut: 5.0 != 6.0"
    assert SMALL.differences(small()) == []


def test_unknown_presets_and_poolings(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"expected a preset among \('fung2022'.*got 'soap'"):
        Fingerprint.preset("soap", "H")
    with pytest.raises(ValueError, match=r"expected elements as chemical symbols, got \('Q',\)"):
        Fingerprint.preset("fung2022", ["Q"])
    for poolings in ((), ("median",), ("max", "median")):
        with pytest.raises(ValueError, match="expected poolings among"):
            Fingerprint(SMALL.descriptor, poolings)
    with pytest.raises(ValueError, match="expected images 'all' or 'minimum', got 'none'"):
        Fingerprint(SMALL.descriptor, images="none")


MIXED = [
    random_cluster(0, 3),
    random_crystal(1, 2),
    molecule("H2O"),
    Atoms("Pt"),
    random_crystal(2, 4),
    random_cluster(3, 7, ("O",)),
]


@pytest.mark.parametrize("images", ["all", "minimum"])
def test_featurize_mixes_everything(images: str) -> None:
    fingerprint = small(bounds=bounds)
    together = featurize(MIXED, fingerprint)
    assert together.shape == (len(MIXED), fingerprint.size)
    assert together.dtype == np.float64
    for row, atoms in zip(together, MIXED, strict=True):
        alone = featurize(atoms, fingerprint)
        assert alone.shape == (1, fingerprint.size)
        np.testing.assert_allclose(row, alone[0], rtol=1e-12, atol=1e-14)
        if images == "minimum" or not atoms.pbc.any():
            rows = acsf_rows(fingerprint.descriptor, atoms)
            expected = np.concatenate([rows.max(axis=0), rows.min(axis=0)])
            np.testing.assert_allclose(row, expected, rtol=1e-10, atol=1e-13)


def test_featurize_is_in_float64_and_leaves_the_setting_alone() -> None:
    featurize(MIXED[0], SMALL)
    assert jnp.zeros(1).dtype == np.float32


def test_featurize_of_nothing() -> None:
    assert featurize([], SMALL).shape == (0, SMALL.size)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("C"), r"expected elements among \('H', 'O', 'Pt'\) in structure 1, got \['C'\]"),
        (Atoms(), "expected at least one atom in structure 1, got none"),
        (Atoms("H", cell=[4, 4, 4], pbc=(1, 1, 0)), "expected a structure periodic along all"),
        (Atoms("H", pbc=True), "expected a cell with a volume, got a singular one"),
        (
            Atoms("H", cell=[[0, 4, 0], [4, 0, 0], [0, 0, 4]], pbc=True),
            "expected a right-handed cell, got",
        ),
    ],
)
@pytest.mark.parametrize("images", ["all", "minimum"])
def test_featurize_refuses(atoms: Atoms, message: str, images: str) -> None:
    with pytest.raises(ValueError, match=message):
        featurize([molecule("H2O"), atoms], small(bounds=bounds))


def test_featurize_compiles_once_for_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []

    def counted(structure: Structure) -> object:
        traces.append(structure.positions.shape)
        return neighbors(structure)

    monkeypatch.setattr(jaxrecon.fingerprint, "neighbors", counted)
    # Parameters of its own: nothing has been compiled for them before.
    fingerprint = Fingerprint(dataclasses.replace(SMALL.descriptor, r_cut=4.321))
    first = featurize([random_cluster(seed, 4) for seed in range(3)], fingerprint)
    assert len(traces) > 0
    traces.clear()
    second = featurize([random_cluster(seed, 4) for seed in range(3, 6)], fingerprint)
    assert traces == []
    assert np.abs(first - second).max() > 0.01
    featurize([random_cluster(seed, 5) for seed in range(3)], fingerprint)
    assert len(traces) > 0


def test_elements_of_structures() -> None:
    assert elements_of([molecule("H2O"), Atoms("PtC"), Atoms()]) == ("H", "C", "O", "Pt")
    assert elements_of([]) == ()


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ("Pt3", ("Pt", "Pt", "Pt")),
        ("TiO2", ("Ti", "O", "O")),
        ("H2OH", ("H", "H", "O", "H")),
        ("Pt(CO)2", ("Pt", "C", "O", "C", "O")),
        (["Pt", "O"], ("Pt", "O")),
        (("O", "O"), ("O", "O")),
        ([78, 8], ("Pt", "O")),
        (list(np.array([78, 8])), ("Pt", "O")),
    ],
)
def test_compositions(symbols: str | list, expected: tuple[str, ...], unchecked: None) -> None:
    assert composition_of(symbols) == expected


@pytest.mark.parametrize(
    "symbols", ["", "Pt0", "Xx2", "pt2", "X", "Pt-2", "Pt 2", [], [0], [200], ["Pt10"], ["Q"]]
)
def test_compositions_that_are_none(symbols: str | list) -> None:
    with pytest.raises(ValueError, match="expected a chemical formula like 'Pt10' or 'TiO2', got"):
        composition_of(symbols)

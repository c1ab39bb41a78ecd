"""The contract of descriptor families, which every registered family has to pass.

For a new family, add examples to ``EXAMPLES`` in ``families.py``: descriptors with cheap settings,
as functions of the elements. If no feature is nonnegative, an example needs negative numbers.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from families import (
    EXAMPLES,
    GLOBAL,
    R_CUT,
    Make,
    close,
    rows_of,
)
from inverting import CONFIG, compact
from learning import CONFIGS, labelled
from strategies import random_cluster, random_crystal, random_frame

from jaxrecon import (
    Fingerprint,
    Structure,
    batch,
    featurize,
    from_ase,
    load_model,
    reconstruct,
    save_model,
    train,
)
from jaxrecon.descriptors.derivatives import entries_by_positions
from jaxrecon.descriptors.io import read_fingerprints, write_fingerprints
from jaxrecon.descriptors.registry import DESCRIPTORS, PRESETS
from jaxrecon.models.coordinates import Coordinates
from jaxrecon.structures.neighbors import Neighbors, neighbors

pytestmark = pytest.mark.contract

CASES = {
    f"{family}, {name}": make
    for family, examples in EXAMPLES.items()
    for name, make in examples.items()
}
every_family = pytest.mark.parametrize("make", CASES.values(), ids=CASES)
FIRST = {family: next(iter(examples.values())) for family, examples in EXAMPLES.items()}
first_of_every_family = pytest.mark.parametrize("make", FIRST.values(), ids=FIRST)


def test_every_family_has_examples() -> None:
    assert EXAMPLES.keys() == DESCRIPTORS.keys()
    for family, examples in EXAMPLES.items():
        for make in examples.values():
            assert type(make()) is DESCRIPTORS[family]
            assert make().family == family


@every_family
def test_features_are_named_and_counted(make: Make) -> None:
    descriptor = make(("Pt", "H"))
    assert descriptor.elements == ("H", "Pt")
    assert descriptor.size == len(set(descriptor.names)) == len(descriptor.features)
    assert rows_of(descriptor, random_cluster(0, 4, ("H", "Pt"))).shape == (4, descriptor.size)
    assert hash(descriptor) == hash(make(("H", "Pt")))
    assert descriptor == make(("H", "Pt")) != make(("H",))
    assert descriptor.with_elements(["O"]) == make(("O",))


@every_family
def test_rows_are_invariant(make: Make) -> None:
    """To rotation, reflection, translation, the order of the atoms, and the choice of the cell."""
    descriptor, rng = make(), np.random.default_rng(1)
    atoms = random_cluster(1, 6)
    order = rng.permutation(6)
    turned = atoms.positions @ random_frame(rng, mirror=True) + rng.normal(size=3)
    other = Atoms(atoms.numbers[order], turned[order])
    close(rows_of(descriptor, other), rows_of(descriptor, atoms)[order])

    crystal = random_crystal(2, 3)
    large = make_supercell(crystal, [[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    rows, several = rows_of(descriptor, crystal), rows_of(descriptor, large)
    nearest = np.abs(several[:, None] - rows[None]).max(axis=2).min(axis=1)
    assert len(several) == 2 * len(rows)
    assert nearest.max() < 1e-9 * np.abs(rows).max()


@every_family
def test_padding_changes_nothing(make: Make) -> None:
    descriptor, atoms = make(), random_cluster(3, 5)
    close(rows_of(descriptor, atoms, size=9)[:5], rows_of(descriptor, atoms))


SINGULAR = {
    "alone": [(1, 2, 3)],
    "coincident": [(0, 0, 0), (0, 0, 0), (1.5, 0.5, 0)],
    "collinear": [(-1.5, 0, 0), (0, 0, 0), (1.5, 0, 0), (4, 0, 0)],
    "at the cutoff": [(0, 0, 0), (R_CUT, 0, 0), (0, 2, 0)],
}


@every_family
def test_derivatives_are_finite_in_singular_geometries(make: Make) -> None:
    descriptor = make()

    @jax.jit
    def gradient(environments: Neighbors) -> jax.Array:
        def total(vectors: jax.Array) -> jax.Array:
            return descriptor(environments._replace(vectors=vectors)).sum()

        jacobian = descriptor.with_jacobian(environments)[1]
        return jnp.concatenate([jax.grad(total)(environments.vectors).ravel(), jacobian.ravel()])

    for positions in SINGULAR.values():
        atoms = Atoms(["Pt", "O", "Pt", "H"][: len(positions)], np.array(positions, float))
        assert np.isfinite(gradient(neighbors(from_ase(atoms, size=4)))).all()


@every_family
def test_rows_end_smoothly_at_the_cutoff(make: Make) -> None:
    descriptor = make(("Pt",))
    pairs = [Atoms("Pt2", [(0, 0, 0), (r, 0, 0)]) for r in (R_CUT - 1e-4, R_CUT + 1e-4, 9.0)]
    before, after, apart = (rows_of(descriptor, pair) for pair in pairs)
    close(after, apart)
    assert np.abs(before - apart).max() < 1e-5


@every_family
def test_jacobian_is_that_of_jax(make: Make) -> None:
    descriptor = make(("H", "O"))
    with jax.enable_x64(True):
        environments = neighbors(from_ase(random_cluster(4, 5, ("H", "O")), size=6))

        def numbers(vectors: jax.Array) -> jax.Array:
            return descriptor(environments._replace(vectors=vectors))

        @jax.jit
        def compute(vectors: jax.Array) -> tuple[jax.Array, ...]:
            pair = descriptor.with_jacobian(environments._replace(vectors=vectors))
            return *pair, numbers(vectors), jax.jacrev(numbers)(vectors)

        rows, jacobian, same, expected = map(np.asarray, compute(environments.vectors))
    np.testing.assert_allclose(rows, same, rtol=1e-12, atol=1e-12)
    scale = np.abs(jacobian).max()
    for atom in range(5):
        np.testing.assert_allclose(expected[atom, :, atom], jacobian[atom], atol=1e-10 * scale)


@every_family
@pytest.mark.parametrize("periodic", [False, True], ids=["free", "crystal"])
def test_derivatives_by_positions_follow_from_the_jacobian(make: Make, periodic: bool) -> None:
    """A family may sum over the images of an atom early; a strain moves all of them."""
    descriptor = make()
    atoms = random_crystal(7, 3) if periodic else random_cluster(7, 4)
    with jax.enable_x64(True):
        fingerprint = Fingerprint(descriptor)
        structure = jax.tree.map(lambda leaf: leaf[0], batch([atoms], fingerprint, size=5))

        @jax.jit
        def compute(structure: Structure) -> tuple[jax.Array, ...]:
            view = fingerprint.view(structure)
            rows, derivatives = descriptor.with_derivatives(
                view.neighbors, view.elements, strain=periodic
            )
            same, jacobian = descriptor.with_jacobian(view.neighbors, view.elements)
            expected = entries_by_positions(jacobian, view.neighbors, strain=periodic)
            if descriptor.family in GLOBAL:
                expected = jnp.broadcast_to(expected.sum(axis=0), expected.shape)
            return rows, derivatives.entries(), same, expected

        rows, entries, same, expected = map(np.asarray, compute(structure))
    close(rows[: len(atoms)], same[: len(atoms)])
    close(entries[: len(atoms)], expected[: len(atoms)])


@every_family
def test_selected_derivatives_are_those_of_the_jacobian(make: Make) -> None:
    descriptor = make(("H", "O"))
    with jax.enable_x64(True):
        structure = from_ase(random_cluster(5, 5, ("H", "O")), size=6)
        environments = neighbors(structure)
        if not descriptor.selects(environments):
            pytest.skip("this family computes the whole Jacobian")
        atom = np.random.default_rng(0).integers(0, 6, size=(2, descriptor.size))
        found = jax.jit(descriptor.selected_jacobian)(environments, jnp.asarray(atom))

        def rows(positions: jax.Array) -> jax.Array:
            return descriptor(neighbors(replace(structure, positions=positions)))

        whole = jax.jit(jax.jacrev(rows))(structure.positions)
    picked = np.asarray(whole)[atom, np.arange(descriptor.size)]
    np.testing.assert_allclose(found, picked, atol=1e-10 * np.abs(picked).max())


@every_family
def test_features_permute_with_the_elements(make: Make) -> None:
    """``columns`` for another order of the elements gives the order of the features."""
    descriptor, atoms = make(), random_cluster(6, 7)
    assert len(set(atoms.numbers)) == 3
    species = np.array(descriptor.species)

    @jax.jit
    def permuted(structure: Structure, elements: jax.Array) -> tuple[jax.Array, jax.Array]:
        return descriptor(neighbors(structure), elements), descriptor.columns(elements)

    for order in itertools.permutations(range(3)):
        exchanged = atoms.copy()
        exchanged.numbers = species[list(order)][np.searchsorted(species, atoms.numbers)]
        with jax.enable_x64(True):
            elements = jnp.asarray(species[list(order)])
            channels, columns = map(np.asarray, permuted(from_ase(exchanged), elements))
        assert sorted(columns) == list(range(descriptor.size))
        close(rows_of(descriptor, exchanged)[:, columns], channels)
        if descriptor.order_only:
            close(channels, rows_of(descriptor, atoms))


@every_family
def test_features_of_some_elements_are_among_those_of_all(make: Make) -> None:
    whole, part = make(), make(("H", "Pt"))
    atoms = random_cluster(7, 5, ("H", "Pt"))
    columns = np.asarray(jax.jit(whole.columns)(jnp.asarray(part.species)))
    assert [whole.names[column] for column in columns] == list(part.names)
    rows = rows_of(whole, atoms)
    close(rows[:, columns], rows_of(part, atoms))
    others = np.delete(rows, columns, axis=1)
    assert not others.any()
    assert whole.fixed_length == (len(columns) == whole.size)
    absent = np.asarray(jax.jit(part.columns)(jnp.asarray([8])))
    assert whole.fixed_length or (absent == part.size).all()


@every_family
def test_the_promises_of_features_are_kept(make: Make) -> None:
    descriptor = make()
    structures = [random_cluster(seed, 6) for seed in range(8)]
    rows = np.concatenate([rows_of(descriptor, atoms) for atoms in structures])
    without = rows_of(descriptor, random_cluster(9, 6, ("O",)))
    for column, feature in enumerate(descriptor.features):
        if feature.nonnegative:
            assert rows[:, column].min() >= 0.0, feature.name
        if set(feature.neighbors) - {"O"}:
            assert not without[:, column].any(), feature.name
        if feature.radial is None:
            continue
        assert len(feature.neighbors) <= 1
        for atoms in structures[:2]:
            distances = atoms.get_all_distances()
            terms = np.asarray(feature.radial(distances.ravel())).reshape(distances.shape)
            counts = (distances > 0) & (distances < R_CUT)
            if feature.neighbors:
                counts &= (atoms.symbols == feature.neighbors[0])[None, :]
            expected = np.sum(terms * counts, axis=1)
            np.testing.assert_allclose(rows_of(descriptor, atoms)[:, column], expected, atol=1e-5)
    if not any(feature.nonnegative for feature in descriptor.features):
        assert rows.min() < 0.0, (
            "expected an example with negative numbers, as no feature is nonnegative"
        )


@every_family
def test_settings_survive_json_and_files(make: Make, tmp_path: Path) -> None:
    fingerprint = Fingerprint(make(), ("mean", "sorted"), max_atoms=4, per_element=True)
    assert Fingerprint.from_json(fingerprint.to_json()) == fingerprint
    other = Fingerprint(make(("H",)), ("mean", "sorted"), max_atoms=5, per_element=True)
    assert {line.partition(":")[0] for line in fingerprint.differences(other)} == {
        "elements",
        "max_atoms",
    }
    values = featurize(random_cluster(0, 4, ("H",)), other)
    write_fingerprints(tmp_path / "values.npz", values, other)
    assert read_fingerprints(tmp_path / "values.npz").fingerprint == other


@every_family
def test_many_structures_at_once_equal_single_ones(make: Make) -> None:
    fingerprint = Fingerprint(make(), ("mean", "moment2"), per_element=True)
    # Both clusters are padded to the same size.
    mixed = [random_cluster(1, 7), random_crystal(2, 3), random_cluster(3, 8)]
    values = featurize(mixed, fingerprint)
    for atoms, value in zip(mixed, values, strict=True):
        close(value, featurize(atoms, fingerprint)[0])


@every_family
def test_coordinates_keep_signs(make: Make) -> None:
    """Training coordinates keep negative numbers, and drawn ones are never wrongly negative."""
    fingerprint = Fingerprint(make(), ("max", "min", "mean", "moment3"))
    coordinates = Coordinates.of(fingerprint)
    values = featurize(
        [random_cluster(seed, 6) for seed in range(6)], fingerprint, dtype=np.float64
    )
    with jax.enable_x64(True):
        there_and_back = jax.vmap(lambda value: coordinates.backward(coordinates.forward(value)))
        again = jax.jit(there_and_back)(values)
        random = jnp.asarray(np.random.default_rng(0).normal(size=values.shape[1]))
        drawn = np.asarray(jax.jit(coordinates.backward)(random))
    np.testing.assert_allclose(again, values, rtol=1e-9, atol=1e-9)
    for number, value in zip(fingerprint.features, drawn, strict=True):
        nonnegative = fingerprint.descriptor.features[number.feature].nonnegative
        if nonnegative and number.pooling != "moment3":
            assert value >= 0.0


@first_of_every_family
def test_a_search_finds_the_structure_of_a_fingerprint(make: Make) -> None:
    fingerprint = Fingerprint(make(("C",)), ("mean", "moment2"))
    target = featurize(Atoms("C4", 0.6 * compact(4).positions), fingerprint)
    run = reconstruct(target, fingerprint, symbols="C4", config=CONFIG)
    assert run[0].code.solved
    np.testing.assert_allclose(featurize(run[0].atoms, fingerprint), target, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_fingerprints_of_any_elements(name: str) -> None:
    fingerprint = Fingerprint.preset(name, ["O", "H"])
    assert fingerprint.descriptor.elements == ("H", "O")
    assert Fingerprint.from_json(fingerprint.to_json()) == fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "none"}, "expected a descriptor family among"),
        ({}, "expected a descriptor family among"),
        ({"family": "acsf", "elements": ["H"], "other": 1}, "expected settings among .* got"),
        ({"family": "custom", "elements": ["H"], "function": "os:nothing"}, "that can be imported"),
        ({"family": "custom", "elements": ["H"]}, "that can be imported"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fingerprint.from_dict({"descriptor": settings})


@first_of_every_family
def test_a_model_learns_with_it_and_is_read_back(make: Make, tmp_path: Path) -> None:
    """Also with numbers that may be negative: none is cut off on the way to the model and back."""
    fingerprint = Fingerprint(make(), ("mean", "moment2"))
    model = train(labelled(), CONFIGS["default"], fingerprint=fingerprint)
    assert model.fingerprint == fingerprint.restricted(["Pt"])
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.fingerprint == model.fingerprint
    values = featurize(list(labelled().structures)[:5], model.fingerprint)
    np.testing.assert_array_equal(again.predict(values)[0], model.predict(values)[0])
    drawn = again.sample(2.7, count=6, seed=1)
    np.testing.assert_array_equal(drawn, model.sample(2.7, count=6, seed=1))
    features = model.fingerprint.descriptor.features
    impossible = [
        number
        for number, value in zip(model.fingerprint.features, drawn.min(axis=0), strict=True)
        if value < 0 and (number.pooling == "moment2" or features[number.feature].nonnegative)
    ]
    assert impossible == []
    if values.min() < 0.0:
        assert drawn.min() < 0.0

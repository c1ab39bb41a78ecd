"""Images of crystals: every voxel by NumPy in float64, symmetries, derivatives, bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from imaging import COARSE, basis_images, cell_image, crystals

import jaxrecon
from jaxrecon import images
from jaxrecon.images import ImageParameters, encode, gaussians

SALT = bulk("NaCl", "rocksalt", a=5.64)


def of_numpy(atoms: Atoms, parameters: ImageParameters) -> tuple[np.ndarray, np.ndarray]:
    elements = encode(atoms, parameters).elements
    return cell_image(atoms, parameters), basis_images(atoms, elements, parameters)


def test_public_names() -> None:
    assert jaxrecon.images is images
    names = {"Image", "ImageParameters", "decode", "encode", "read_images", "write_images"}
    assert set(images.__all__) == names


@pytest.mark.parametrize("parameters", [ImageParameters(), COARSE], ids=["published", "coarse"])
@pytest.mark.usefixtures("strict_types")
def test_every_voxel(parameters: ImageParameters) -> None:
    """A voxel at the threshold may be cut off by one and not by the other."""
    for atoms, image in zip(crystals(3), encode(crystals(3), parameters), strict=True):
        cell, basis = of_numpy(atoms, parameters)
        assert image.cell.dtype == image.basis.dtype == np.float32
        np.testing.assert_allclose(image.cell, cell, atol=2e-6)
        assert np.sum(np.abs(image.basis - basis) > 1e-6) <= 2


@pytest.mark.usefixtures("x64")
def test_every_voxel_in_float64() -> None:
    (atoms,) = crystals(1, seed=1)
    image = encode(atoms, COARSE)
    cell, basis = of_numpy(atoms, COARSE)
    assert image.cell.dtype == image.basis.dtype == np.float64
    np.testing.assert_allclose(image.cell, cell, atol=1e-12)
    np.testing.assert_allclose(image.basis, basis, atol=1e-12)


def test_cells_of_any_shape_have_their_nearest_images() -> None:
    """A lattice vector that leads far away describes the same lattice, on another grid."""
    for vectors in ([[3, 0, 0], [7, 3, 0], [1, 8, 4]], [[3, 0, 0], [1.5, 2.6, 0], [0, 0, 9]]):
        atoms = Atoms("Si", cell=vectors, pbc=True)
        np.testing.assert_allclose(encode(atoms, COARSE).cell, cell_image(atoms, COARSE), atol=2e-6)


def test_turned_moved_and_reordered_crystals_have_the_same_image() -> None:
    (atoms,) = crystals(1, seed=2)
    other = atoms[::-1]
    other.rotate(50, (1, 2, 3), rotate_cell=True)
    other.positions += 3.0
    one, two = encode([atoms, other], COARSE)
    np.testing.assert_allclose(one.cell, two.cell, atol=1e-5)
    assert np.sum(np.abs(one.basis - two.basis) > 1e-5) <= 2


def test_atoms_that_leave_the_box_are_replaced_by_nearer_images() -> None:
    """The three atoms are far apart as given, and near to each other as they are chosen."""
    given = Atoms(
        "Si3", cell=[6, 6, 6], pbc=True, scaled_positions=[[0, 0, 0], [1.9, 0, 0], [0.1, -2.2, 0]]
    )
    nearer = given.copy()
    nearer.set_scaled_positions([[0, 0, 0], [-0.1, 0, 0], [0.1, -0.2, 0]])
    one, two = encode([given, nearer], COARSE)
    np.testing.assert_allclose(one.basis, two.basis, atol=1e-5)


def test_a_batch_is_as_one_after_the_other() -> None:
    several = crystals(3, seed=3)
    for one, atoms in zip(encode(several, COARSE), several, strict=True):
        alone = encode(atoms, COARSE)
        assert one.elements == alone.elements
        np.testing.assert_array_equal(one.basis, alone.basis)
        np.testing.assert_allclose(one.cell, alone.cell, atol=1e-6)


def test_elements_may_be_named() -> None:
    image = encode(SALT, COARSE, elements="Cl,Br,Na")
    assert image.elements == ("Cl", "Br", "Na")
    sodium, chlorine = encode(SALT, COARSE).basis
    np.testing.assert_array_equal(image.basis, [chlorine, 0 * chlorine, sodium])
    assert encode(SALT.repeat(1), COARSE).size == 16**3 + 2 * 32**3


@pytest.mark.usefixtures("x64")
def test_derivatives_are_those_of_finite_differences() -> None:
    """Of the overlap with another image, by the positions and the cell."""
    random = np.random.default_rng(0)
    positions = jnp.asarray(random.uniform(-3, 3, (4, 3)))
    channel, mask = jnp.array([0, 1, 0, 0]), jnp.array([True, True, True, False])
    weights = jnp.asarray(random.random((2, 32, 32, 32)))
    cell, whole = jnp.asarray(crystals(1)[0].cell.array), jnp.eye(3)

    @jax.jit
    def overlap(x: jax.Array, a: jax.Array) -> jax.Array:
        sites = gaussians.sites_of(x, channel, mask, COARSE)
        basis = gaussians.basis_images(sites, 2, COARSE)
        return jnp.sum(weights * basis) + jnp.sum(gaussians.cell_image(a, whole, COARSE) ** 3)

    def changed(given: list[jax.Array], number: int, step: np.ndarray) -> list[jax.Array]:
        return [each + step if place == number else each for place, each in enumerate(given)]

    arguments = [positions, cell]
    gradients = jax.jit(jax.grad(overlap, (0, 1)))(*arguments)
    for number, gradient in enumerate(gradients):
        for place in ((0, 0), (1, 2), (2, 1)):
            step = 1e-6 * np.eye(9)[3 * place[0] + place[1]].reshape(3, 3)
            step = np.pad(step, ((0, len(gradient) - 3), (0, 0)))
            moved = [float(overlap(*changed(arguments, number, sign * step))) for sign in (1, -1)]
            expected = (moved[0] - moved[1]) / 2e-6
            assert float(gradient[place]) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert not np.any(gradients[0][3])


ROW = Atoms("Na16", np.outer(np.arange(16), [0.93, 0, 0]), cell=[14.9, 3, 3], pbc=True)
WIRE = Atoms("Si", cell=[3, 3, 3], pbc=(True, False, False))


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (molecule("H2O"), "expected a crystal, periodic along all three axes"),
        (WIRE, r"got pbc=\[True, False, False\]"),
        (Atoms("Na", cell=[3, 3, 16], pbc=True), "edges of the cell up to 15 Angstrom.*got 16"),
        (Atoms("Si", [[np.nan, 0, 0]], cell=[3, 3, 3], pbc=True), "positions that are not finite"),
        (Atoms(cell=[3, 3, 3], pbc=True), "expected atoms at finite positions, got none"),
        (Atoms("Na", cell=[3, 3, 0], pbc=True), "a cell with a volume"),
        (Atoms("Si", cell=[3, 3, 3], pbc=True), "among those of the images, Na, Cl, got Si"),
        (Atoms("Na2", [[0, 0, 0], [0, 0, 14.2]], cell=[9, 9, 14.9], pbc=True), None),
        (ROW, r"expected atoms up to 6\.5625 Angstrom from their middle along x, y and z"),
    ],
)
def test_bad_crystals_are_refused(atoms: Atoms, message: str | None) -> None:
    if message is None:
        assert encode(atoms, COARSE, elements="NaCl").elements == ("Na", "Cl")
        return
    with pytest.raises(ValueError, match=message) as caught:
        encode(atoms, COARSE, elements="NaCl")
    assert "\n" not in str(caught.value)


def test_the_bad_crystal_of_several_is_named() -> None:
    with pytest.raises(ValueError, match=r"got pbc=.* of structure 1"):
        encode([SALT, WIRE], COARSE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell_grid": 31}, "expected cell_grid to be an even number from 8 to 1024, got 31"),
        ({"basis_grid": 4}, "basis_grid"),
        ({"basis_grid": True}, "basis_grid"),
        ({"box": -1.0}, "expected box"),
        ({"box": "wide"}, "expected box to be a number"),
        ({"sigma": 0.01}, "expected sigma to be from 0.0469 to 1.5 Angstrom"),
        ({"sigma": float("nan")}, "expected sigma"),
        ({"threshold": 0}, "expected threshold"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_parameters_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageParameters(**settings)

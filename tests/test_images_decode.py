"""Crystals from their images: exact, from the brightest voxels, and from images of networks."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from imaging import COARSE, crystals, deviation
from scipy import ndimage

from jaxrecon.images import Image, ImageParameters, decode, encode
from jaxrecon.images.cells import cells_of_directions, fit_cells
from jaxrecon.images.fit import Peaks, components
from jaxrecon.images.peaks import local_maxima

SALT = bulk("NaCl", "rocksalt", a=5.64)
CERTIFICATE = {"result_code", "residual", "position_error", "cell_error"}


def noisy(image: Image, width: float, seed: int = 0) -> Image:
    """With noise in every voxel of the atoms, and a hundredth of it in those of the cell."""
    random = np.random.default_rng(seed)
    cell, basis = (
        (array + part * width * random.normal(size=array.shape)).astype(np.float32)
        for array, part in ((image.cell, 0.01), (image.basis, 1.0))
    )
    return replace(image, cell=cell, basis=basis)


def blurred(image: Image, voxels: float) -> Image:
    return replace(image, basis=ndimage.gaussian_filter(image.basis, (0, *[voxels] * 3)))


COARSEST = ImageParameters(cell_grid=16, basis_grid=18, sigma=0.7)
"""Voxels that are 0.83 Angstrom apart, of which an atom reaches those within 1.96 Angstrom."""


@pytest.mark.parametrize(
    "parameters",
    [ImageParameters(), COARSE, COARSEST],
    ids=["published", "coarse", "coarsest"],
)
def test_crystals_come_back_exactly(parameters: ImageParameters) -> None:
    """Where Gaussians are wide, many of them overlap."""
    truth = crystals(5)
    for found, atoms in zip(decode(encode(truth, parameters)), truth, strict=True):
        assert set(found.info) == CERTIFICATE
        assert found.info["result_code"] == "converged"
        assert found.info["residual"] < 2e-6
        assert max(found.info["position_error"], found.info["cell_error"]) < 1e-6
        off = np.abs(found.cell.lengths() - atoms.cell.lengths()).max()
        assert off <= found.info["cell_error"]
        assert deviation(found, atoms) < 3e-6


@pytest.mark.usefixtures("x64")
def test_double_precision_gives_double_precision() -> None:
    truth = crystals(2)
    for found, atoms in zip(decode(encode(truth, COARSE)), truth, strict=True):
        assert found.info["residual"] < 1e-12
        assert deviation(found, atoms) < 1e-8


@pytest.mark.usefixtures("x64")
def test_overlapping_atoms_in_double_precision() -> None:
    atoms = Atoms("O2V", [(0, 0, 0), (0.5, 0.3, 0.1), (2.5, 2, 1)], cell=[5, 6, 7], pbc=True)
    found = decode(encode(atoms, COARSE))
    assert found.info["residual"] < 1e-11
    assert deviation(found, atoms) < 1e-8


@pytest.mark.parametrize("distance", [0.3, 0.5, 0.8, 1.1])
def test_like_atoms_that_overlap_are_told_apart(distance: float) -> None:
    """Two, and three in a triangle, with one peak for all of them or peaks that are displaced."""
    corners = distance * np.array([[0, 0, 0], [0.6, 0.8, 0], [-0.4, 0.5, 0.75]])
    for count in (2, 3):
        atoms = Atoms(f"O{count}V", [*corners[:count], (2.5, 2, 1)], cell=[5, 6, 7], pbc=True)
        found = decode(encode(atoms))
        assert found.symbols.formula.count() == {"O": count, "V": 1}
        assert found.info["result_code"] == "converged"
        assert deviation(found, atoms) < 1e-4


def test_brightest_voxels_are_as_far_as_published() -> None:
    """The mean distance of a point in a cube of 15/64 Angstrom from its middle is 0.1126."""
    truth = crystals(12, seed=5)
    found = decode(encode(truth), method="argmax")
    distances = []
    for one, atoms in zip(found, truth, strict=True):
        assert one.info["result_code"] == "stalled"
        assert np.isnan(one.info["position_error"])
        assert np.abs(one.cell.array - atoms.cell.standard_form()[0]).max() < 1e-4
        exact = decode(encode(atoms))
        exact.positions += (one.positions - exact.positions).mean(axis=0)
        distances.extend(np.linalg.norm(one.positions - exact.positions, axis=1))
    assert np.mean(distances) == pytest.approx(0.11, abs=0.015)


def test_noise_moves_atoms_by_as_much_as_certified() -> None:
    truth = crystals(4, seed=1)
    clean = encode(truth)
    for found, atoms in zip(decode([noisy(x, 0.05) for x in clean]), truth, strict=True):
        assert found.info["result_code"] == "stalled"
        assert sorted(found.symbols) == sorted(atoms.symbols)
        error = found.info["position_error"]
        assert 0.003 < error < 0.03
        assert 0.2 * error < deviation(found, atoms) < 2 * error


def test_blurred_images_have_their_atoms() -> None:
    truth = crystals(4, seed=2, least=1.3)
    clean = encode(truth)
    for found, atoms in zip(decode([blurred(x, 1.0) for x in clean]), truth, strict=True):
        assert found.info["result_code"] == "stalled"
        assert sorted(found.symbols) == sorted(atoms.symbols)
        assert deviation(found, atoms) < 0.02
    for found, atoms in zip(
        decode([noisy(blurred(x, 0.8), 0.02) for x in clean]), truth, strict=True
    ):
        assert sorted(found.symbols) == sorted(atoms.symbols)
        assert deviation(found, atoms) < 0.05


def test_a_batch_is_as_one_after_the_other() -> None:
    several = [noisy(image, 0.02) for image in encode(crystals(3, seed=4), COARSE)]
    for one, image in zip(decode(several), several, strict=True):
        alone = decode(image)
        assert list(one.symbols) == list(alone.symbols)
        np.testing.assert_allclose(one.positions, alone.positions, atol=1e-4)
        np.testing.assert_allclose(one.cell.array, alone.cell.array, atol=1e-4)


def test_min_distances_choose_atoms() -> None:
    """Like atoms: the higher peak stays. Other ones: that of the second element goes."""
    atoms = Atoms(
        "V2O3",
        [(0, 0, 0), (1.5, 0, 0), (3, 0, 0), (3, 1.2, 0), (0, 1.1, 0)],
        cell=[6, 7, 8],
        pbc=True,
    )
    image = encode(atoms)
    kept = decode(image, min_distances={"V-O": 1.2})
    assert kept.symbols.formula.count() == {"O": 2, "V": 2}
    assert kept.info["result_code"] == "stalled"
    kept = decode(image, min_distances={"V-O": 1.2, "V-V": 1.6, "O-O": 1.3})
    assert kept.symbols.formula.count() == {"O": 1, "V": 1}
    low = replace(
        image,
        basis=image.basis * (1.0 - 0.1 * np.arange(64) / 64)[:, None, None].astype(np.float32),
    )
    (vanadium,) = np.flatnonzero(decode(low, min_distances={"V-V": 1.6}).symbols == "V")
    assert decode(low).positions[:, 0].min() == pytest.approx(
        decode(low, min_distances={"V-V": 1.6}).positions[vanadium, 0], abs=1e-2
    )


def test_the_cell_is_read_from_directions_and_from_all_voxels() -> None:
    truth = crystals(3, seed=6)
    images = np.stack([image.cell for image in encode(truth)])
    cells, found = cells_of_directions(images, ImageParameters())
    assert found.all()
    fitted = fit_cells(images, ImageParameters())
    random = np.random.default_rng(0)
    disturbed = (images + 1e-3 * random.normal(size=images.shape)).astype(np.float32)
    rough, better = (
        read(disturbed, ImageParameters()) for read in (cells_of_directions, fit_cells)
    )
    for row, atoms in enumerate(truth):
        standard = atoms.cell.standard_form()[0]
        assert np.abs(cells[row] - standard).max() < 1e-4
        assert np.abs(fitted.cells[row] - standard).max() < 1e-6
        error = np.abs(better.cells[row] - standard).max()
        assert error < 0.3 * np.abs(rough[0][row] - standard).max()
        assert error < 3 * better.errors[row] < 0.02


def test_a_cell_whose_directions_contradict_each_other_is_read() -> None:
    """Voxels that are too dark along one of six directions, but not all around the middle."""
    parameters = ImageParameters(cell_grid=16, sigma=0.5)
    atoms = Atoms("V", cell=[4.0, 4.1, 4.2, 59, 61, 60], pbc=True)
    truth = np.asarray(atoms.cell.standard_form()[0])
    image = np.array(encode(atoms, parameters).cell)[None]
    step = np.array([1, 1, 0])
    for sign in (-1, 1):
        for times in range(1, 8):
            image[(0, *(8 + sign * times * step))] *= 0.01
    assert not cells_of_directions(image, parameters)[1][0]
    read = fit_cells(image, parameters)
    assert read.found[0]
    assert np.abs(read.cells[0] - truth).max() < 0.3
    assert read.residual[0] > 0.1


def test_maxima_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    images = ndimage.gaussian_filter(random.normal(size=(2, 16, 16, 16)), (0, 1, 1, 1))
    images = images.astype(np.float32)
    expected = images == ndimage.maximum_filter(images, size=(1, 3, 3, 3), mode="nearest")
    expected &= images > 0.05
    inner = np.zeros_like(expected)
    inner[:, 1:-1, 1:-1, 1:-1] = True
    which, index = local_maxima(images, 0.05)
    np.testing.assert_array_equal(np.column_stack([which, index]), np.argwhere(expected & inner))
    assert len(which) > 20


def test_groups_are_atoms_that_overlap() -> None:
    index = np.array([[10, 10, 10], [14, 10, 10], [30, 10, 10], [10, 10, 10]])
    groups = components(Peaks(np.array([0, 0, 0, 1]), index, np.zeros((4, 3))), ImageParameters())
    assert len(set(groups)) == 3
    assert groups[0] == groups[1]


def silicon() -> Image:
    return encode(bulk("Si"), COARSE)


NOT_A_NUMBER = np.full((16,) * 3, np.nan, np.float32)
BAD = {
    "non_finite": (
        lambda: replace(silicon(), cell=NOT_A_NUMBER),
        "expected finite voxels, got NaN",
    ),
    "no_cell": (lambda: replace(silicon(), cell=np.ones_like(NOT_A_NUMBER)), "image of a cell"),
    "no_peak": (lambda: replace(silicon(), basis=0 * silicon().basis), "a peak in a basis image"),
}


@pytest.mark.parametrize("code", BAD)
def test_images_that_cannot_be_read_are_refused_or_have_a_code(code: str) -> None:
    make, message = BAD[code]
    with pytest.raises(ValueError, match=message):
        decode(make())
    good, bad = decode([silicon(), make()])
    assert good.info["result_code"] == "converged"
    assert len(bad) == 0
    assert bad.info["result_code"] == code
    assert np.isnan(bad.info["residual"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "best"}, "expected method to be one of fit, argmax, got 'best'"),
        ({"threshold": 1.5}, "expected threshold to be a number > 0 and < 1, got 1.5"),
        ({"min_distances": {"VO": 1.0}}, "by two elements like 'V-O', got 'VO'"),
        ({"min_distances": {"V-Xx": 1.0}}, "by two elements like 'V-O', got 'V-Xx'"),
        ({"min_distances": {"V-O": -1.0}}, "expected min_distances > 0 Angstrom, got -1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(silicon(), **settings)


@pytest.mark.usefixtures("unchecked")
def test_bad_images_are_refused() -> None:
    good = silicon()
    for bad, message in (
        (replace(good, cell=good.cell[1:]), r"expected the cell image .* in shape \(16, 16, 16\)"),
        (replace(good, elements=("Si", "O")), r"basis image .* in shape \(2, 32, 32, 32\)"),
        (replace(good, elements=("Si", "Si")), "expected elements that differ"),
        (replace(good, basis=good.basis.astype(int)), "expected the basis image to have real"),
        (bulk("Si"), r"expected a jaxrecon\.images\.Image, got Atoms"),
    ):
        with pytest.raises(ValueError, match=message):
            decode([bad])


def test_an_image_is_a_pytree() -> None:
    doubled = jax.tree.map(lambda array: 2 * array, silicon())
    assert isinstance(doubled, Image)
    assert doubled.elements == ("Si",)
    assert repr(doubled) == "Image(Si; cell 16 x 16 x 16, basis 1 x 32 x 32 x 32)"

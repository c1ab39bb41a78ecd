"""Autoencoders of images: the networks, training that continues, folders, and scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase import Atoms

from jaxrecon.images import ImageParameters, encode
from jaxrecon.images.autoencoders import ImageAutoencoder
from jaxrecon.images.config import ImageConfig
from jaxrecon.images.evaluation import evaluate_images, summary
from jaxrecon.images.folder import ABOUT, load_images, save_images
from jaxrecon.images.items import items_of
from jaxrecon.images.substitution import variants
from jaxrecon.images.training import ImageModel, autoencoders, train_images

SMALL = ImageParameters(cell_grid=16, basis_grid=16, box=9.0, sigma=0.6)
CONFIG = ImageConfig(
    parameters=SMALL,
    cell_code=6,
    basis_code=16,
    cell_epochs=2,
    basis_epochs=2,
    cell_batch=4,
    basis_batch=4,
    validation=2,
)


@pytest.fixture(autouse=True)
def few_validation_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples are not repeated so often that the loss has no noise."""
    monkeypatch.setattr("jaxrecon.models.fitting.MIN_VALIDATION_LOSSES", 4)


def oxides(count: int) -> list[Atoms]:
    """Strained copies of a small oxide."""
    atoms = Atoms("VO2", cell=[3.0, 3.2, 4.5], pbc=True)
    atoms.set_scaled_positions([(0, 0, 0), (0.5, 0.5, 0.15), (0.4, 0.1, 0.5)])
    return variants(atoms, count, seed=1)


@pytest.mark.parametrize("kind", ["patch", "convolution"])
@pytest.mark.parametrize("part", ["cell", "basis"])
def test_networks_learn_one_image(kind: str, part: str) -> None:
    """The loss is a cross entropy, zero only for the image itself, and a few steps lower it."""
    network = ImageAutoencoder.of(part, kind, SMALL, code=8)
    network = dataclasses.replace(network, channels=4, hidden=32 if kind == "patch" else 0)
    items = items_of(oxides(1), ("V", "O"), SMALL)[part]
    item = jax.tree.map(lambda array: array[0], items)
    image = network.image(item)
    encoded = encode(oxides(1)[0], SMALL, elements="V,O")
    expected = encoded.cell if part == "cell" else encoded.basis[0]
    np.testing.assert_allclose(image, expected, atol=1e-5)
    weights = network.init(jax.random.key(0))
    step = jax.jit(jax.value_and_grad(network.loss))
    first, _ = step(weights, jax.random.key(1), item)
    code = network.encode(weights, image[None])
    output = network.decode(weights, code)
    assert code.shape == (1, 8)
    assert output.shape == (1, 16, 16, 16)
    assert float(jnp.abs(code).max()) < 1.0
    # The loss by the definition of cross entropy, in float64.
    p, q = (np.clip(np.asarray(x, np.float64), 1e-12, 1 - 1e-12) for x in (image, output[0]))
    expected = np.sum(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert float(first) == pytest.approx(expected, rel=1e-3)
    optimiser = optax.adam(1e-2)
    moments = optimiser.init(weights)
    for _ in range(20):
        value, gradient = step(weights, jax.random.key(1), item)
        updates, moments = optimiser.update(gradient, moments)
        weights = optax.apply_updates(weights, updates)
    assert float(value) < 0.8 * float(first)


def test_patches_are_those_of_reshaped_images() -> None:
    """A network whose matrices pick voxels returns the image that it was shown."""
    network = ImageAutoencoder(
        "basis", "patch", 64, 64, 64, ImageParameters(basis_grid=8, box=4.0, sigma=0.4)
    )
    weights = network.init(jax.random.key(0))
    skeleton = jax.tree.map(lambda array: jnp.zeros_like(array), weights)
    assert set(skeleton) == {"seen", "gathered", "inner", "outer", "spread", "shown"}
    eye = jnp.eye(64)
    skeleton["seen"]["kernel"] = skeleton["shown"]["kernel"] = eye
    # The first of the eight patches passes through the bottleneck unchanged.
    skeleton["gathered"]["kernel"] = jnp.eye(512, 64)
    skeleton["inner"]["kernel"] = skeleton["outer"]["kernel"] = eye
    skeleton["spread"]["kernel"] = jnp.eye(64, 512)
    image = jax.random.uniform(jax.random.key(1), (1, 8, 8, 8)) * 1e-3
    shown = network.decode(skeleton, network.encode(skeleton, image))
    logits = np.log(np.asarray(shown) / (1.0 - np.asarray(shown)))
    np.testing.assert_allclose(logits[:, :4, :4, :4], image[:, :4, :4, :4], atol=1e-6)
    np.testing.assert_allclose(logits[:, 4:], 0.0, atol=1e-6)


@pytest.mark.slow
def test_a_training_continues_and_its_folder_comes_back(tmp_path: Path) -> None:
    crystals = oxides(8)
    seen = []
    model = train_images(crystals, "V,O", CONFIG, progress=lambda *done: seen.append(done))
    assert sum(epochs for epochs, _ in seen) == 4
    assert sum(images for _, images in seen) == 2 * 6 + 2 * 12
    assert model.losses["basis"].shape == (2, 2)
    assert model.losses["basis"][1, 0] < model.losses["basis"][0, 0]

    def stop(epochs: int, images: int) -> None:
        if images == 12:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_images(crystals, "V,O", CONFIG, folder=tmp_path / "run", progress=stop)
    again = train_images(crystals, "V,O", CONFIG, folder=tmp_path / "run")
    for one, two in zip(
        jax.tree.leaves(model.weights), jax.tree.leaves(again.weights), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    save_images(model, tmp_path / "model")
    loaded = load_images(tmp_path / "model")
    images = encode(crystals, SMALL, elements="V,O")
    np.testing.assert_array_equal(loaded.encode(images), model.encode(images))
    np.testing.assert_array_equal(model.codes(crystals), model.encode(images))
    assert (loaded.elements, loaded.config) == (model.elements, model.config)
    np.testing.assert_array_equal(loaded.losses["cell"], model.losses["cell"])
    save_images(again, tmp_path / "model")


def test_images_of_codes_have_shapes_and_values() -> None:
    model = untrained()
    images = model.decode(np.zeros((3, 6 + 2 * 16)))
    assert [image.elements for image in images] == [("V", "O")] * 3
    assert all(0.0 < image.basis.min() <= image.basis.max() < 1.0 for image in images)
    with pytest.raises(
        ValueError, match=r"expected codes of 38 numbers in rows, got shape \(3, 5\)"
    ):
        model.decode(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="expected an image of V, O with ImageParameters"):
        model.encode(encode(oxides(1), SMALL, elements="O,V"))


def untrained() -> ImageModel:
    networks = autoencoders(CONFIG)
    weights = {part: network.init(jax.random.key(0)) for part, network in networks.items()}
    return ImageModel(("V", "O"), CONFIG, weights, {})


class Perfect(ImageModel):
    """A model whose codes are the images themselves, the last one of which is empty."""

    def encode(self, images):
        return images

    def decode(self, codes):
        return [*codes[:-1], dataclasses.replace(codes[-1], basis=0 * codes[-1].basis)]


def test_scores_are_those_of_the_crystals() -> None:
    crystals = oxides(4)
    perfect = Perfect(("V", "O"), CONFIG, {}, {})
    scores = evaluate_images(perfect, crystals)
    assert [score.right for score in scores] == [True, True, True, False]
    assert max(score.deviation for score in scores[:3]) < 1e-5
    total = summary(scores)
    assert (total["crystals"], total["read"], total["right_number_of_atoms"]) == (4, 3, 0.75)
    assert total["deviation"] < 1e-5
    assert total["lengths"] < 1e-5
    assert total["angles"] < 1e-4
    # One atom too few is not right, although the cell is read.
    few = evaluate_images(perfect, crystals, min_distances={"V-O": 9.0})
    assert not any(score.right for score in few)
    assert few[0].lengths < 1e-5
    assert np.isnan(summary(few)["deviation"])


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more crystals than the 2 for validation, got 2"):
        train_images(oxides(2), "V,O", CONFIG)
    parameters = ImageParameters(basis_grid=24, sigma=0.5)
    assert ImageAutoencoder.of("basis", parameters=parameters).grid == 24
    with pytest.raises(ValueError, match="expected basis_grid to be 4 times a power of two"):
        ImageAutoencoder.of("basis", "convolution", parameters=parameters)
    with pytest.raises(ValueError, match="expected basis_grid to be a multiple of 4, at least 8"):
        ImageAutoencoder.of("basis", parameters=ImageParameters(basis_grid=30, sigma=0.5))
    with pytest.raises(ValueError, match="expected cell_epochs to be a whole number >= 1"):
        CONFIG.replace(cell_epochs=0)
    with pytest.raises(ValueError, match="expected settings among"):
        ImageConfig.from_dict({"epochs": 3})
    assert ImageConfig.from_dict(CONFIG.to_dict()) == CONFIG
    with pytest.raises(FileNotFoundError, match=r"has no images\.json"):
        load_images(tmp_path)
    (tmp_path / ABOUT).write_text('{"version": 9}')
    with pytest.raises(ValueError, match="damaged"):
        load_images(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(FileExistsError, match="expected a model of images or nothing"):
        save_images(untrained(), tmp_path / "other")

"""The generator of crystals on codes of images: network, loss, samples, oxidation states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imaging import crystals
from scipy.spatial.transform import Rotation, Slerp

from jaxrecon.images import Image, ImageParameters
from jaxrecon.images.config import ImageConfig
from jaxrecon.images.folder import load_images, save_images
from jaxrecon.images.generation import generate_images
from jaxrecon.images.latent import fitted_latent
from jaxrecon.images.materials import (
    Materials,
    codes_of,
    energies_of,
    sequences_of,
    train_materials,
)
from jaxrecon.images.materials_network import MaterialsNetwork
from jaxrecon.images.sampling import around, between, gaussian, has_valid_oxidation, slerp
from jaxrecon.images.training import ImageModel, autoencoders

SMALL = ImageParameters(cell_grid=16, basis_grid=16, box=15.0, sigma=0.6)
CONFIG = ImageConfig(parameters=SMALL, cell_code=6, basis_code=16)
NETWORK = MaterialsNetwork(channels=3, length=16, latent=5, width=7, inner=4, hidden=8)


@pytest.fixture(autouse=True)
def few_validation_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples are not repeated so often that the loss has no noise."""
    monkeypatch.setattr("jaxrecon.models.fitting.MIN_VALIDATION_LOSSES", 4)


def untrained() -> ImageModel:
    networks = autoencoders(CONFIG)
    weights = {part: network.init(jax.random.key(0)) for part, network in networks.items()}
    return ImageModel(("O", "V"), CONFIG, weights, {})


def test_codes_and_sequences() -> None:
    codes = np.random.default_rng(0).normal(size=(4, 6 + 2 * 16)).astype(np.float32)
    sequences = sequences_of(untrained(), codes)
    assert sequences.shape == (4, 16, 3)
    # That of the cell comes over and over again: two and two thirds of it fit in.
    np.testing.assert_array_equal(sequences[:, 6:12, 0], codes[:, :6])
    np.testing.assert_array_equal(sequences[:, 12:, 0], codes[:, :4])
    np.testing.assert_array_equal(sequences[:, :, 2], codes[:, 22:])
    sequences[:, 6:12, 0] += 0.5
    cells, atoms = codes_of(jnp.asarray(sequences), 6)
    np.testing.assert_allclose(cells, codes[:, :6] + 0.25, rtol=1e-6)
    np.testing.assert_array_equal(atoms.reshape(4, -1), codes[:, 6:])


def test_the_loss_is_that_of_its_parts() -> None:
    """In float64 by NumPy, and without the classifier where the energy is unknown."""
    weights = NETWORK.init(jax.random.key(0))
    sequence = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (16, 3)), jnp.float32)
    key = jax.random.key(3)
    mean, log_variance = (
        np.asarray(x, np.float64) for x in NETWORK.encode(weights, sequence[None])
    )
    noise = np.asarray(jax.random.normal(key, (1, 5)), np.float64)
    latent = jnp.asarray(mean + np.exp(log_variance / 2) * noise, jnp.float32)
    decoded = np.asarray(NETWORK.decode(weights, latent)[0])
    logit = float(NETWORK.classify(weights, latent)[0])
    assert decoded.shape == (16, 3)
    assert np.abs(decoded).max() < 1.0
    squared = np.mean((decoded - np.asarray(sequence)) ** 2)
    divergence = 0.5 * np.sum(mean**2 + np.exp(log_variance) - log_variance - 1.0)
    for label, entropy in (
        (1.0, np.log1p(np.exp(-logit))),
        (0.0, np.log1p(np.exp(logit))),
        (-1.0, 0.0),
    ):
        found = NETWORK.loss(weights, key, (sequence, jnp.asarray(label, jnp.float32)))
        expected = squared + 1e-6 * divergence + 5e-7 * entropy
        assert float(found) == pytest.approx(expected, rel=1e-6)
    unknown = jax.grad(NETWORK.loss)(weights, key, (sequence, jnp.asarray(-1.0, jnp.float32)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(unknown))
    assert not any(leaf.any() for leaf in jax.tree.leaves(unknown["said"]))


def test_published_sizes() -> None:
    shapes = jax.eval_shape(MaterialsNetwork(3).init, jax.random.key(0))
    assert shapes["inner"]["kernel"].shape == (1250, 1000)
    assert shapes["seen"]["kernel"].shape == (500, 500)
    with pytest.raises(ValueError, match="expected basis_code to be a multiple of 8, got 20"):
        MaterialsNetwork(3, length=20)


@pytest.mark.slow
def test_a_generator_learns_codes_and_stability() -> None:
    """Two kinds of crystals, one of which is stable, and their images again."""
    model, random = untrained(), np.random.default_rng(0)
    centres = random.uniform(-0.8, 0.8, (2, 6 + 2 * 16))
    codes = (centres[[0, 1] * 20] + 0.01 * random.normal(size=(40, 38))).astype(np.float32)

    shown: list[np.ndarray] = []

    class Coded(ImageModel):
        def decode(self, codes: np.ndarray) -> list:
            shown.append(codes)
            return []

    coded: Any = Coded(model.elements, CONFIG, model.weights, {})
    energies = np.where(np.arange(40) % 2, 1.0, 0.0)
    energies[:3] = np.nan
    settings: Any = {"network": NETWORK, "epochs": 60, "batch": 8, "learning_rate": 1e-2}
    fitted = train_materials(coded, codes, energies, **settings)
    assert isinstance(fitted, Materials)
    assert fitted.losses[-1, 0] < 0.1 * fitted.losses[0, 0]
    latent = fitted.latent(codes)
    assert latent.shape == (40, 5)
    assert fitted.images(latent) == []
    np.testing.assert_allclose(shown[0], codes, atol=0.15)
    likely = fitted.stability(latent)
    assert likely[0::2].min() > 0.5 > likely[1::2].max()
    with pytest.raises(ValueError, match="expected a network for 3 channels of 16 numbers"):
        train_materials(coded, codes, energies, network=MaterialsNetwork(2, 16))
    with pytest.raises(ValueError, match="expected 40 formation energies, got 3"):
        train_materials(coded, codes, np.zeros(3))
    with pytest.raises(ValueError, match="at least 10 crystals to learn from, got 3"):
        train_materials(coded, codes[:3], np.zeros(3))


def test_latent_vectors_move_towards_images() -> None:
    """The images of other vectors are found again by cross entropy, which NumPy computes here."""
    # The weights of key 1 leave one of the vectors in another minimum; those of 2 to 8 none.
    generator = Materials(untrained(), NETWORK, NETWORK.init(jax.random.key(2)), np.ones((1, 2)))
    truth, start = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    images = generator.images(truth)

    def misfit(latent: np.ndarray) -> np.ndarray:
        sums = []
        for given, made in zip(images, generator.images(latent), strict=True):
            p, q = (
                np.concatenate([image.cell.ravel(), image.basis.ravel()]).astype(np.float64)
                for image in (given, made)
            )
            sums.append(np.sum(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))))
        return np.array(sums)

    found = fitted_latent(generator, images, start, steps=600)
    assert (misfit(found) < 0.1 * misfit(start)).all()
    with pytest.raises(ValueError, match="expected 3 latent vectors, one an image, got 2"):
        fitted_latent(generator, images, start[:2])
    with pytest.raises(ValueError, match="expected steps to be a whole number >= 1, got 0"):
        fitted_latent(generator, images, start, steps=0)


def test_great_circles_are_those_of_scipy() -> None:
    """Unit quaternions are points on a sphere, between which SciPy interpolates."""
    turns = Rotation.random(2, random_state=0)
    first, second = turns.as_quat()
    second = second if first @ second > 0 else -second
    parts = np.linspace(0.0, 1.0, 7)
    expected = Slerp([0, 1], turns)(parts).as_quat()
    found = slerp(first, second, parts)
    np.testing.assert_allclose(np.abs(np.sum(found * expected, axis=1)), 1.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-12)
    straight = slerp(first, 3.0 * first, np.array([0.5]))
    np.testing.assert_allclose(straight[0], 2.0 * first)


def test_samples() -> None:
    latent = np.random.default_rng(0).normal(1.0, 2.0, (50, 6))
    drawn = between(latent[:4], 19)
    assert drawn.shape == (6 * 19, 6)
    np.testing.assert_allclose(drawn[9], slerp(latent[0], latent[1], np.array([0.5]))[0])
    normal = gaussian(latent, 20_000, seed=1)
    np.testing.assert_allclose(normal.mean(axis=0), latent.mean(axis=0), atol=0.08)
    np.testing.assert_allclose(normal.std(axis=0), latent.std(axis=0), rtol=0.03)
    close = around(latent[:2], 30, distance=0.001, seed=2).reshape(2, 30, 6)
    distances = np.linalg.norm(close - latent[:2, None], axis=2)
    np.testing.assert_allclose(distances, 0.001, rtol=1e-6)
    assert len(np.unique(close.round(9).reshape(-1, 6), axis=0)) == 60
    np.testing.assert_array_equal(around(latent[:2], seed=2)[:30], close[0])
    with pytest.raises(ValueError, match="at least two crystals to draw between, got 1"):
        between(latent[:1])


def test_oxidation_states() -> None:
    """Those of known oxides: VO, V2O3, VO2 and V2O5 are possible, V2O and VO3 are not."""
    known = {(1, 1): True, (2, 3): True, (1, 2): True, (2, 5): True, (2, 1): False, (1, 3): False}
    for (vanadium, oxygen), valid in known.items():
        assert has_valid_oxidation(["V"] * vanadium + ["O"] * oxygen) is valid
    assert not has_valid_oxidation(["O", "O"])
    assert has_valid_oxidation(["Ti", "Cl", "Cl"], {"Ti": (2, 4)}, {"Cl": -1})
    with pytest.raises(ValueError, match="expected elements with a charge, got Sr"):
        has_valid_oxidation(["V", "Sr"])


def test_a_generator_comes_back_from_its_folder(tmp_path: Path) -> None:
    losses = {part: np.ones((50, 2), np.float32) for part in ("cell", "basis")}
    model = ImageModel(("O", "V"), CONFIG, untrained().weights, losses)
    weights = NETWORK.init(jax.random.key(1))
    made = Materials(model, NETWORK, weights, np.zeros((3, 2), np.float32))
    save_images(made, tmp_path / "model")
    loaded = load_images(tmp_path / "model")
    assert isinstance(loaded, Materials)
    assert loaded.network == NETWORK
    latent = np.random.default_rng(0).normal(size=(2, 5))
    np.testing.assert_array_equal(loaded.stability(latent), made.stability(latent))
    for one, two in zip(loaded.images(latent), made.images(latent), strict=True):
        np.testing.assert_array_equal(one.basis, two.basis)
    save_images(model, tmp_path / "model")
    assert isinstance(load_images(tmp_path / "model"), ImageModel)


class Remembering(Materials):
    """A generator whose latent vectors are numbers of images, the last of which is empty."""

    kept: list[Image]

    def latent(self, codes: np.ndarray) -> np.ndarray:
        return np.arange(1.0, len(codes) + 1)[:, None]

    def images(self, latent: np.ndarray) -> list[Image]:
        places = np.clip(latent[:, 0].round().astype(int) - 1, 0, len(self.kept) - 1)
        return [self.kept[place] for place in places]

    def stability(self, latent: np.ndarray) -> np.ndarray:
        return latent[:, 0] / 10


def test_crystals_are_generated_in_every_way() -> None:
    known = [atoms for atoms in crystals(8) if set(atoms.symbols) <= {"O", "V"}]
    assert len(known) >= 2
    images: list[Image] = []

    class Fine(ImageModel):
        def encode(self, some: Any) -> np.ndarray:
            images.extend(some)
            return np.zeros((len(some), 1))

    made = Remembering(Fine(("O", "V"), ImageConfig(), {}, {}), NETWORK, {}, np.zeros((1, 2)))
    object.__setattr__(made, "kept", images)
    around = generate_images(made, known, way="around", count=2, seed=1)
    assert [atoms.info["sample"] for atoms in around] == list(range(2 * len(known)))
    assert {atoms.info["result_code"] for atoms in around} == {"converged"}
    assert sorted(around[0].symbols) == sorted(around[1].symbols) == sorted(known[0].symbols)
    assert around[2].info["stability"] == pytest.approx(0.2, abs=1e-3)
    pairs = len(known) * (len(known) - 1) // 2
    assert len(generate_images(made, known)) == 19 * pairs
    assert len(generate_images(made, known, way="gaussian", count=5)) == 5
    with pytest.raises(ValueError, match="expected count to be a whole number >= 1, got 0"):
        generate_images(made, known, count=0)


def test_energies_are_read_by_name() -> None:
    known = crystals(3)
    known[1].info["e"] = 0.25
    np.testing.assert_array_equal(energies_of(known, "e"), [np.nan, 0.25, np.nan])
    with pytest.raises(ValueError, match="expected formation energies named other"):
        energies_of(known, "other")

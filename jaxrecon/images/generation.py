"""New crystals from latent vectors near and between known ones."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.images import sampling
from jaxrecon.images.decode import decode
from jaxrecon.images.encode import encode
from jaxrecon.images.latent import fitted_latent
from jaxrecon.images.materials import Materials
from jaxrecon.images.training import IN_MEMORY
from jaxrecon.structures.inputs import Structures, as_structures

Way = Literal["slerp", "gaussian", "around"]


def generate_images(
    materials: Materials,
    known: Structures,
    *,
    way: Way = "slerp",
    count: int | None = None,
    steps: int = 0,
    seed: int = 0,
    min_distances: Mapping[str, float] | None = None,
) -> list[Atoms]:
    """Draw latent vectors, make their images, and read the crystals.

    Args:
        materials: the generator with its autoencoders.
        known: crystals to draw near to or between, as for :func:`jaxrecon.featurize`; positions and
            cells in Angstrom.
        way: ``"slerp"`` between all pairs of known crystals, ``"gaussian"`` with the mean and the
            deviation of all of them, or ``"around"`` each at a small distance, to find it again.
        count: number of vectors between two crystals, in all, or around each one; None for 19, 1000
            or 30.
        steps: number of steps in which the latent vectors of the known crystals are fitted to their
            images, as by :func:`~jaxrecon.images.latent.fitted_latent`; 0 for those of the encoder.
        seed: seed of the random numbers.
        min_distances: smallest distances of elements in Angstrom, as for
            :func:`~jaxrecon.images.decode.decode`.

    Returns:
        One crystal for each vector, in order, without atoms where its images can't be read. Its
        ``info`` has what :func:`~jaxrecon.images.decode.decode` adds, the number of the ``sample``,
        and the ``stability``, the probability of a formation energy of at most 0.5 eV/atom.

    Raises:
        ValueError: if the image of a known crystal can't be made, there are too few of them, or a
            setting is not one of those above.
    """
    latent = materials.latent(materials.model.codes(known))
    if steps:
        parameters, elements = materials.model.config.parameters, materials.model.elements
        images = encode(list(as_structures(known)), parameters, elements=list(elements))
        latent = fitted_latent(materials, images, latent, steps=steps)
    drawn = _drawn(latent, way, count, seed)
    likely = materials.stability(drawn)
    found: list[Atoms] = []
    for start in range(0, len(drawn), IN_MEMORY):
        made = materials.images(drawn[start : start + IN_MEMORY])
        found += decode(made, min_distances=min_distances)
    for number, (atoms, chance) in enumerate(zip(found, likely, strict=True)):
        atoms.info |= {"sample": number, "stability": float(chance)}
    return found


def _drawn(
    latent: Float[np.ndarray, "n z"], way: Way, count: int | None, seed: int
) -> Float[np.ndarray, "k z"]:
    """Latent vectors of new crystals."""
    if count is not None and count < 1:
        raise ValueError(f"expected count to be a whole number >= 1, got {count}")
    if way == "slerp":
        return sampling.between(latent, count or sampling.BETWEEN)
    if way == "gaussian":
        return sampling.gaussian(latent, count or 1000, seed=seed)
    return sampling.around(latent, count or sampling.COPIES, seed=seed)

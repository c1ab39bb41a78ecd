"""How well crystals come back from the codes of their images."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from scipy.optimize import linear_sum_assignment

from jaxrecon.images.decode import decode
from jaxrecon.images.encode import encode, frame_of
from jaxrecon.images.training import ImageModel
from jaxrecon.structures.inputs import Structures, as_structures


class Score(NamedTuple):
    """One crystal and what came back of it.

    Attributes:
        atoms: the crystal that came back; without atoms where its images can't be read.
        right: whether every element has the right number of atoms.
        deviation: mean distance of matched atoms in the box in Angstrom; not a number unless
            ``right``.
        lengths: mean absolute error of the edges of the cell in Angstrom.
        angles: mean absolute error of its angles in degrees.
    """

    atoms: Atoms
    right: bool
    deviation: float
    lengths: float
    angles: float


def evaluate_images(
    model: ImageModel,
    structures: Structures,
    *,
    min_distances: Mapping[str, float] | None = None,
) -> list[Score]:
    """Encode the images of crystals, decode the codes, and read the crystals.

    Args:
        model: the autoencoders.
        structures: crystals as for :func:`jaxrecon.featurize`; positions and cells in Angstrom.
        min_distances: smallest distances of elements in Angstrom, as for
            :func:`~jaxrecon.images.decode.decode`.

    Returns:
        One score for each crystal, in order.

    Raises:
        ValueError: if the image of a crystal can't be made.
    """
    crystals, parameters = as_structures(structures), model.config.parameters
    images = encode(list(crystals), parameters, elements=list(model.elements))
    found = decode(model.decode(model.encode(images)), min_distances=min_distances)
    return [_score(truth, one, model) for truth, one in zip(crystals, found, strict=True)]


def summary(scores: list[Score]) -> dict[str, Any]:
    """Means over crystals, as plain data.

    Args:
        scores: the scores of at least one crystal.

    Returns:
        The number of crystals, the fraction with the right number of atoms, the mean deviation of
        these in Angstrom, and the mean errors of edges in Angstrom and of angles in degrees of all
        that can be read; not a number where there are none.
    """
    read = [score for score in scores if len(score.atoms)]
    right = [score.deviation for score in scores if score.right]
    return {
        "crystals": len(scores),
        "read": len(read),
        "right_number_of_atoms": len(right) / len(scores),
        "deviation": _mean(right),
        "lengths": _mean([score.lengths for score in read]),
        "angles": _mean([score.angles for score in read]),
    }


def _score(truth: Atoms, found: Atoms, model: ImageModel) -> Score:
    """Compare a crystal with what came back of it, in the box of its images."""
    if not len(found):
        return Score(found, False, *[float("nan")] * 3)
    differences = np.abs(found.cell.cellpar() - truth.cell.cellpar())
    lengths, angles = float(differences[:3].mean()), float(differences[3:].mean())
    frame = frame_of(truth, model.elements, model.config.parameters)
    positions = found.positions - 0.5 * found.cell.array.sum(axis=0)
    channel = np.array([model.elements.index(symbol) for symbol in found.symbols])
    if sorted(channel) != sorted(frame.channel):
        return Score(found, False, float("nan"), lengths, angles)
    distances = np.linalg.norm(positions[:, None] - frame.positions, axis=-1)
    same = channel[:, None] == frame.channel
    pairs = linear_sum_assignment(np.where(same, distances, 1e6))
    return Score(found, True, float(distances[pairs].mean()), lengths, angles)


def _mean(values: list[float]) -> float:
    """The mean; not a number without values."""
    return float(np.mean(values)) if values else float("nan")

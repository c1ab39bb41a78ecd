r"""Certificates: how firmly a fingerprint holds a structure, in Angstrom.

A small residual is not the same everywhere: where the fingerprint hardly changes along some
displacement of the atoms, the structure may be far from the wanted one although the residual is
small. Around a structure x the fingerprint is

.. math:: c(x + d) = c(x) + J d + \tfrac12 H[d, d] + \dots

for displacements d that are no rigid motion. What a residual r still allows to first order is the
Gauss-Newton step :math:`J^+ r`. Along a null vector v of J, as symmetric crystals have, the first
order says nothing; there :math:`d = t v` changes the numbers by :math:`\tfrac12 t^2 k`, where k is
the part of H[v, v] that no other displacement makes up for, so that

.. math:: t \le \sqrt{2 |r| / |k|}.

Where the singular value s of a direction is small and not zero, as in molecules that are almost
planar, :math:`|s t - \tfrac12 |k| t^2|` takes its place. Only a direction without a second order
either is undetermined. Derivatives of fingerprints and the
directions that they miss: Parsaeifard & Goedecker, J. Chem. Phys. 156, 034302 (2022),
arXiv 2102.06915; Pozdnyakov et al., arXiv 2109.11440.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float

from jaxrecon.descriptors.buckets import buckets_of
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.runtime.programs import programs_kept
from jaxrecon.search.local_model import ROUND_OFF, LocalModel, one_thread
from jaxrecon.search.noise import Noise, error_bars, level_of, noise_of_each_target, weights_of
from jaxrecon.search.soft_directions import softest, twin, valley
from jaxrecon.search.unknowns import Unknowns, largest
from jaxrecon.structures.inputs import Structures, as_structures
from jaxrecon.structures.structure import Bounds, Structure, padded_arrays

RANK = 1e-9
"""Singular values of the Jacobian (1/Angstrom) count as zero below this part of the largest one, or
of the length of the fingerprint."""

LEAST_ROUND_OFF = 1e-15
"""Round-off of all numbers in float64 where polishing ends, as a part of their length."""

MOVED = 0.1
"""Displacement of an atom in Angstrom to which :attr:`Certificate.noise` belongs."""


class Certificate(NamedTuple):
    """How firmly a fingerprint holds a structure.

    :func:`~jaxrecon.search.certificate.certificates` has an example.

    Attributes:
        unknowns: number of independent displacements, without rigid motions; with an unknown cell
            also its six strains.
        rank_deficiency: number of them along which no number changes to first order.
        singular_value: smallest singular value of the Jacobian in 1/Angstrom.
        position_error: largest displacement of an atom in Angstrom that the residual allows;
            infinite where a direction is undetermined to second order.
        noise: root mean square change of the numbers, without a unit, when the structure moves
            along its softest direction until an atom is displaced by 0.1 Angstrom.
        error_bars: standard deviations of the places of the atoms in Angstrom, where the numbers
            have noise; the largest is the position error then. Empty where they are exact.
    """

    unknowns: int
    rank_deficiency: int
    singular_value: float
    position_error: float
    noise: float
    error_bars: tuple[float, ...] = ()


def certificates(
    structures: Structures,
    fingerprint: Fingerprint,
    *,
    targets: Float[np.ndarray, "n p"] | None = None,
    noise: Noise | None = None,
    cell_known: bool = True,
) -> list[Certificate]:
    """Find how firmly a fingerprint holds structures, from its derivatives in float64.

    Args:
        structures: as for :func:`jaxrecon.featurize`: free structures and crystals.
        fingerprint: the fingerprint.
        targets: wanted numbers of each structure, without a unit; None for its own, so that only
            round-off is left of the residual.
        noise: standard deviation of the errors of the numbers, as for :func:`jaxrecon.reconstruct`;
            None where they are exact. The position error is that which they cause.
        cell_known: whether the cells of crystals are known; otherwise their strains are unknowns
            too, and one of size 1 counts as the cube root of the volume.

    Returns:
        One certificate for each structure. They hold near the structure: other structures may have
        the same fingerprint, see :func:`jaxrecon.degenerate_structures`. Where nearly all
        directions are soft, such a structure may be as near as 1e-3 Angstrom.

    Raises:
        ValueError: as :func:`jaxrecon.featurize`, if targets or noise are of another shape, or a
            structure is periodic along some axes only.
        MemoryError: as :func:`jaxrecon.featurize`.

    >>> from ase.build import molecule
    >>> preset = Fingerprint.preset("default", ["H", "O"])
    >>> (water,) = certificates(molecule("H2O"), preset)
    >>> water.unknowns, water.rank_deficiency, water.position_error < 1e-6
    (3, 1, True)
    """
    items = as_structures(structures)
    for number, atoms in enumerate(items):
        if atoms.pbc.any() and not atoms.pbc.all():
            raise ValueError(
                f"expected a free structure or a crystal, got one that is periodic along "
                f"{int(atoms.pbc.sum())} axes (structure {number})"
            )
    shape = (len(items), fingerprint.size)
    targets = None if targets is None else np.asarray(targets, np.float64)
    if targets is not None and targets.shape != shape:
        raise ValueError(f"expected targets of shape {shape}, got {targets.shape}")
    noises = noise_of_each_target(noise, [fingerprint.size] * len(items))

    def jacobians(
        moved: Sequence[Atoms], weights: Float[np.ndarray, " p"]
    ) -> list[Float[np.ndarray, "p x 3"]]:
        found = {number: each for number, _, each in derivatives(moved)}
        return [weights[:, None, None] * found[number] for number in range(len(moved))]

    derivatives = partial(_derivatives, fingerprint=fingerprint, strain=not cell_known)
    certificate_of: dict[int, Certificate] = {}
    for number, value, jacobian in derivatives(items):
        errors = noises[number]
        weights = np.ones_like(value) if (own := weights_of(errors)) is None else own
        residual = np.zeros_like(value) if targets is None else weights * (targets[number] - value)
        model = LocalModel.of(
            Unknowns.of(items[number], strained=not cell_known),
            residual,
            weights[:, None, None] * jacobian,
            partial(jacobians, weights=weights),
            length=float(np.linalg.norm(weights * value)),
        )
        level = None if errors is None else level_of(errors)
        certificate_of[number] = certified(model, len(value), level)
    return [certificate_of[number] for number in range(len(items))]


@one_thread()
def certified(model: LocalModel, numbers: int, level: float | None = None) -> Certificate:
    """The certificate of one structure.

    Args:
        model: the fingerprint around the structure.
        numbers: how many numbers there are, those of absent elements included.
        level: standard deviation of the numbers, without a unit; None where they are exact.

    Returns:
        The certificate.
    """
    singular, residual = model.singular, model.residual
    if not len(singular):  # a single atom
        return Certificate(0, 0, math.inf, 0.0, math.inf)
    deficiency = int((singular <= RANK * model.scale).sum())
    smallest = 0.0 if deficiency else float(singular[-1])
    # First order, along the firm directions: the step that would take the residual away, or as
    # much round-off.
    firm, span = model.firm, model.span
    error = float(largest(model.firm_step(residual)))
    if firm:
        error = max(error, ROUND_OFF * model.length / float(singular[firm - 1]))
    # With noise the errors of the numbers take the place of a residual.
    bars = () if level is None else tuple(error_bars(model, level).tolist())
    if firm == len(singular):
        noise = smallest / numbers**0.5 * MOVED / float(largest(model.motions[-1]))
        return Certificate(firm, 0, smallest, max(bars, default=error), noise, bars)
    # Second order, along the soft ones: how far the softest leads with what that step leaves of the
    # residual, to first and second order.
    rest = float(np.linalg.norm(residual - span @ (span.T @ residual)))
    size = max(rest + model.scale * error**2, ROUND_OFF * model.length)
    soft = softest(model, level or size)
    part = MOVED / soft.width
    noise = (soft.slope * part + soft.curvature * part**2 / 2) / numbers**0.5
    if level is None:
        # Slopes along a valley are tiny: more round-off than there is would hide them all.
        little = max(rest + model.scale * error**2, LEAST_ROUND_OFF * model.length)
        error += max(soft.reach, twin(model, size), valley(model, little))
    else:
        error = max(*bars, soft.reach)
    return Certificate(len(singular), deficiency, smallest, error, noise, bars)


def _derivatives(
    items: Sequence[Atoms], fingerprint: Fingerprint, *, strain: bool
) -> Iterator[tuple[int, Float[np.ndarray, " p"], Float[np.ndarray, "p x 3"]]]:
    """The numbers of each structure, and their derivatives by positions and by a strain."""
    with jax.enable_x64(True):
        for bucket in buckets_of(items, fingerprint, None):
            program = _compiled(fingerprint, bucket.bounds, bucket.size, strain)
            for number in bucket.members:
                arrays = padded_arrays([items[number]], bucket.size, bucket.bounds)
                value, jacobian = program({name: array[0] for name, array in arrays.items()})
                rows = [*range(len(items[number])), *range(bucket.size, jacobian.shape[1])]
                yield number, np.asarray(value), np.asarray(jacobian)[:, rows]


@programs_kept()
def _compiled(
    fingerprint: Fingerprint, bounds: Bounds | None, size: int, strain: bool
) -> Callable[[dict[str, np.ndarray]], tuple[Array, Array]]:
    """A program for the numbers and the derivatives of a structure, padded to a size."""

    def of_structure(arrays: dict[str, Array]) -> tuple[Array, Array]:
        view = fingerprint.view(Structure(**arrays, bounds=bounds))
        found = fingerprint.pooled_with_jacobian(view, strain=strain)
        value, jacobian = (view.spread(each, fingerprint.size) for each in found)
        return value, jacobian

    return jax.jit(of_structure)

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
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.buckets import PER_CALL, buckets_of
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.structures.inputs import Structures, as_structures
from jaxrecon.structures.structure import Bounds, Structure, padded_arrays

RANK = 1e-9
"""Singular values of the Jacobian (1/Angstrom) count as zero below this part of the largest one, or
of the length of the fingerprint."""

SOFT = 1e-3
"""Directions with singular values below this part of the same are looked at to second order."""

STEP = 1e-3
"""Displacement of an atom in Angstrom for second derivatives by differences."""

ROUND_OFF = 1e-14
"""Smallest residual of a number in float64, as a part of the length of the fingerprint."""

FLAT = 1e-6
"""Curvatures along null vectors below this part of the whole curvature count as zero."""

MOST_SOFT = 12
"""Largest number of soft directions, the softest ones, of which all combinations are looked at."""

MIXED, KEPT, ROUNDS = 256, 16, 12
"""Combinations that are tried at once, the best of them that are moved on, and how often."""

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
    """

    unknowns: int
    rank_deficiency: int
    singular_value: float
    position_error: float
    noise: float


def certificates(
    structures: Structures,
    fingerprint: Fingerprint,
    *,
    targets: Float[np.ndarray, "n p"] | None = None,
    cell_known: bool = True,
) -> list[Certificate]:
    """Find how firmly a fingerprint holds structures, from its derivatives in float64.

    Args:
        structures: as for :func:`jaxrecon.featurize`: free structures and crystals.
        fingerprint: the fingerprint.
        targets: wanted numbers of each structure, without a unit; None for its own, so that only
            round-off is left of the residual.
        cell_known: whether the cells of crystals are known; otherwise their strains are unknowns
            too, and one of size 1 counts as the cube root of the volume.

    Returns:
        One certificate for each structure. They hold near the structure: other structures further
        away may have the same fingerprint, see :func:`jaxrecon.degenerate_structures`.

    Raises:
        ValueError: as :func:`jaxrecon.featurize`, if targets are of another shape, or a structure
            is periodic along some axes only.
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
    values = featurize(items, fingerprint)
    if targets is not None and targets.shape != values.shape:
        raise ValueError(f"expected targets of shape {values.shape}, got {targets.shape}")
    residuals = np.zeros_like(values) if targets is None else targets - values
    found: dict[int, Certificate] = {}
    for number, jacobian in _jacobians(items, fingerprint, strain=not cell_known):
        own = _Linear.of(items[number], jacobian, values[number], strain=not cell_known)
        found[number] = own.certificate(fingerprint, residuals[number])
    return [found[number] for number in range(len(items))]


def _jacobians(
    items: Sequence[Atoms], fingerprint: Fingerprint, *, strain: bool
) -> Iterator[tuple[int, Float[np.ndarray, "p x 3"]]]:
    """The derivatives of each structure by positions, and by a symmetric strain of a crystal."""
    with jax.enable_x64(True):
        for bucket in buckets_of(items, fingerprint, None):
            program = _compiled(fingerprint, bucket.bounds, strain)
            # Structures are filled up to a power of two, so that few shapes are compiled.
            width = min(PER_CALL, 1 << (len(bucket.members) - 1).bit_length())
            for start in range(0, len(bucket.members), width):
                members = bucket.members[start : start + width]
                filled = members + members[:1] * (width - len(members))
                arrays = padded_arrays([items[i] for i in filled], bucket.size, bucket.bounds)
                jacobians = np.asarray(program(arrays))
                for number, jacobian in zip(members, jacobians, strict=False):
                    count = len(items[number])
                    rows = [*range(count), *range(bucket.size, jacobian.shape[1])]
                    yield number, jacobian[:, rows]


@lru_cache(maxsize=64)
def _compiled(
    fingerprint: Fingerprint, bounds: Bounds | None, strain: bool
) -> Callable[[dict[str, np.ndarray]], Array]:
    """A program for the derivatives of padded structures."""

    def of_structure(arrays: dict[str, Array]) -> Array:
        view = fingerprint.view(Structure(**arrays, bounds=bounds))
        _, jacobian = fingerprint.pooled_with_jacobian(view, strain=strain)
        return view.spread(jacobian, fingerprint.size)

    return jax.jit(lambda arrays: jax.lax.map(of_structure, arrays))


class _Linear(NamedTuple):
    """The linear model of the fingerprint around a structure, by its singular values.

    Attributes:
        atoms: the structure.
        value: its fingerprint.
        left: singular vectors in the space of the numbers, one in each column.
        singular: singular values in 1/Angstrom, descending, one for each unknown.
        motions: displacements in Angstrom of the atoms, then of the cell, that belong to them.
        length: length in Angstrom that a strain of 1 counts as; 0 where the cell is known.
    """

    atoms: Atoms
    value: Float[np.ndarray, " p"]
    left: Float[np.ndarray, "p m"]
    singular: Float[np.ndarray, " u"]
    motions: Float[np.ndarray, "u x 3"]
    length: float

    @classmethod
    def of(
        cls,
        atoms: Atoms,
        jacobian: Float[np.ndarray, "p x 3"],
        value: Float[np.ndarray, " p"],
        *,
        strain: bool,
    ) -> "_Linear":
        """Decompose the derivatives by all displacements that are no rigid motion."""
        strained = strain and bool(atoms.pbc.all())
        length = atoms.get_volume() ** (1 / 3) if strained else 0.0
        basis = _internal(atoms, strained)
        matrix = jacobian[:, : basis.shape[1]].copy()
        if strained:
            matrix[:, -3:] /= length
        flat = np.einsum("pxk,uxk->pu", matrix, basis)
        left, singular, right = np.linalg.svd(flat, full_matrices=True)
        padded = np.zeros(len(basis))
        padded[: len(singular)] = singular
        motions = np.tensordot(right, basis, axes=1)
        return cls(atoms, value, left[:, : len(singular)], padded, motions, length)

    def certificate(
        self, fingerprint: Fingerprint, residual: Float[np.ndarray, " p"]
    ) -> Certificate:
        """Compute the certificate of the structure with this residual."""
        if not len(self.singular):  # a single atom
            return Certificate(0, 0, math.inf, 0.0, math.inf)
        whole = float(np.linalg.norm(self.value))
        scale = max(self.singular[0], whole)
        deficiency = int((self.singular <= RANK * scale).sum())
        smallest = 0.0 if deficiency else float(self.singular[-1])
        # First order, along the firm directions: the step that would take the residual away, or as
        # much round-off.
        firm = int((self.singular > SOFT * scale).sum())
        span = self.left[:, :firm]
        step = np.tensordot(span.T @ residual / self.singular[:firm], self.motions[:firm], axes=1)
        error = _largest(step)
        if firm:
            error = max(error, ROUND_OFF * whole / float(self.singular[firm - 1]))
        if firm == len(self.singular):
            noise = smallest / len(self.value) ** 0.5 * MOVED / _largest(self.motions[-1])
            return Certificate(firm, 0, smallest, error, noise)
        # Second order, along the soft ones: how far the softest leads with what that step leaves of
        # the residual, to first and second order.
        rest = float(np.linalg.norm(residual - span @ (span.T @ residual)))
        size = max(rest + scale * error**2, ROUND_OFF * whole)
        count = min(len(self.singular) - firm, MOST_SOFT)
        motions, singular = self.motions[-count:], self.singular[-count:]
        # The second derivatives along all pairs of them give those along any combination.
        first, second = np.triu_indices(count)
        pairs = (motions[first] + motions[second]) / np.where(first == second, 2.0, 2.0**0.5)[
            :, None, None
        ]
        bent, errors = self._curvatures(fingerprint, pairs)
        own = bent - bent @ span @ span.T
        gram, whole_gram, least = own @ own.T, bent @ bent.T, 2.0 * errors.max()

        def curvatures(weights: Float[np.ndarray, "j k"]) -> Float[np.ndarray, " j"]:
            parts = _parts(weights, first, second)
            found, total = (np.einsum("ni,ij,nj->n", parts, g, parts) for g in (gram, whole_gram))
            limit = np.maximum(FLAT * np.sqrt(np.maximum(total, 0.0)), least)
            lengths = np.sqrt(np.maximum(found, 0.0))
            return np.where(lengths <= limit, 0.0, lengths)

        def reaches(weights: Float[np.ndarray, "j k"]) -> Float[np.ndarray, " j"]:
            slopes = np.linalg.norm(weights * singular, axis=1)
            return widths_of(weights) * _reach(slopes, curvatures(weights), size)

        def widths_of(weights: Float[np.ndarray, "j k"]) -> Float[np.ndarray, " j"]:
            return np.linalg.norm(np.tensordot(weights, motions, axes=1), axis=-1).max(axis=1)

        softest, reach = _farthest(reaches, count)
        weights = softest[None]
        slope = float(np.linalg.norm(softest * singular))
        part = MOVED / float(widths_of(weights)[0])
        change = slope * part + float(curvatures(weights)[0]) * part**2 / 2
        noise = change / len(self.value) ** 0.5
        return Certificate(len(self.singular), deficiency, smallest, error + reach, noise)

    def _curvatures(
        self, fingerprint: Fingerprint, directions: Float[np.ndarray, "k x 3"]
    ) -> tuple[Float[np.ndarray, "k p"], Float[np.ndarray, " k"]]:
        """Second derivatives of the numbers along directions by differences, and their errors."""
        steps = np.array([STEP / _largest(direction) for direction in directions])
        moved = [
            self._moved(sign * step * direction)
            for step, direction in zip(steps, directions, strict=True)
            for sign in (1.0, -1.0)
        ]
        values = featurize(moved, fingerprint).reshape(len(directions), 2, -1)
        bent = (values.sum(axis=1) - 2.0 * self.value) / np.square(steps)[:, None]
        return bent, 4.0 * ROUND_OFF * np.linalg.norm(self.value) / np.square(steps)

    def _moved(self, motion: Float[np.ndarray, "x 3"]) -> Atoms:
        """The structure after a motion of atoms and cell."""
        moved = self.atoms.copy()
        moved.positions += motion[: len(moved)]
        if self.length:
            moved.set_cell(moved.cell.array @ (np.eye(3) + motion[-3:] / self.length), True)
        return moved


def _internal(atoms: Atoms, strained: bool) -> Float[np.ndarray, "u x 3"]:
    """An orthonormal basis of all displacements of atoms and cell that are no rigid motion."""
    count = len(atoms)
    rigid = [np.tile(axis, (count, 1)) for axis in np.eye(3)]
    if not atoms.pbc.any():
        centred = atoms.positions - atoms.positions.mean(axis=0)
        rigid += [np.cross(axis, centred) for axis in np.eye(3)]
    # The null space of the rigid motions, of which a line of atoms has one less.
    _, sizes, right = np.linalg.svd(np.reshape(rigid, (-1, 3 * count)), full_matrices=True)
    internal = right[int((sizes > 1e-6 * sizes[0]).sum()) :].reshape(-1, count, 3)
    if not strained:
        return internal
    symmetric = np.zeros((6, 3, 3))
    for number, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]):
        symmetric[number, i, j] = symmetric[number, j, i] = 1.0 if i == j else 0.5**0.5
    basis = np.zeros((len(internal) + 6, count + 3, 3))
    basis[: len(internal), :count] = internal
    basis[len(internal) :, count:] = symmetric
    return basis


def _parts(
    weights: Float[np.ndarray, "j k"], first: Int[np.ndarray, " m"], second: Int[np.ndarray, " m"]
) -> Float[np.ndarray, "j m"]:
    """What each pair of directions adds to the second derivative along a combination.

    With H[a, b] = H[c, c] - (H[a, a] + H[b, b]) / 2 for c = (a + b) / sqrt 2, the derivative of the
    combination w is the sum of w_a (2 w_a - sum w) H[a, a] and, over pairs, 2 w_a w_b H[c, c].
    """
    alone = weights * (2.0 * weights - weights.sum(axis=1, keepdims=True))
    return np.where(first == second, alone[:, first], 2.0 * weights[:, first] * weights[:, second])


def _farthest(
    reaches: Callable[[Float[np.ndarray, "j k"]], Float[np.ndarray, " j"]], count: int
) -> tuple[Float[np.ndarray, " k"], float]:
    """The combination of directions that leads farthest: the best of many, moved uphill."""
    random = np.random.default_rng(0)
    tried = np.concatenate([np.eye(count), random.normal(size=(MIXED * (count - 1), count))])
    tried /= np.linalg.norm(tried, axis=1, keepdims=True)
    for spread in np.geomspace(0.5, 0.01, ROUNDS):
        values = reaches(tried)
        best = tried[np.argsort(values)[-KEPT:]]
        near = np.repeat(best, MIXED // KEPT, axis=0)
        near = near + spread * random.normal(size=near.shape) / count**0.5
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        tried = np.concatenate([best, near])
    values = reaches(tried)
    farthest = int(np.argmax(values))
    return tried[farthest], float(values[farthest])


def _reach(
    slopes: Float[np.ndarray, " j"], curvatures: Float[np.ndarray, " j"], size: float
) -> Float[np.ndarray, " j"]:
    """The largest t near 0 with a residual of :math:`|s t - k t^2 / 2|` within the size.

    Up to the residual :math:`s^2 / 2 k`, the height between the two roots, t is near the first one;
    above it anything between them and beyond the second one has a residual within the size.
    """
    reach = np.full(len(slopes), math.inf)
    np.divide(size, slopes, out=reach, where=slopes > 0.0)
    bent = curvatures > 0.0
    k = np.where(bent, curvatures, 1.0)
    height = slopes**2 / (2.0 * k)
    below = (slopes - np.sqrt(np.maximum(slopes**2 - 2.0 * k * size, 0.0))) / k
    above = (slopes + np.sqrt(slopes**2 + 2.0 * k * size)) / k
    # The difference of two close numbers is no better than the first order.
    below = np.maximum(below, reach)
    return np.where(bent, np.where(height >= size, below, above), reach)


def _largest(motion: Float[np.ndarray, "x 3"]) -> float:
    """The largest displacement of an atom, or of the cell, in Angstrom."""
    return float(np.linalg.norm(motion, axis=-1).max())

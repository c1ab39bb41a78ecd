"""The compositions that a fingerprint may belong to: elements and numbers of their atoms."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np
from jaxtyping import Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.stoichiometry import compositions, reads_compositions

MOST = 32
"""Largest number of compositions to search for in turn."""

PRECISION = 1e-5
"""Error of a number of the fingerprint, relative to the largest one: ten times that of float32."""

ZERO = PRECISION / 10.0
"""Magnitude of a number, relative to the largest one, up to which it counts as 0."""

LARGEST_LOG_ERROR = 50.0
"""Error of the logarithm of a ratio above which it says nothing; its exponential may overflow."""

WIDENING = 1.5
"""Factor by which the errors grow until a composition fits."""

MISFIT_RATIO = 2.0
"""Largest misfit of a candidate relative to the best one, where none fits within the errors."""


def candidates(
    target: Float[np.ndarray, " p"],
    fingerprint: Fingerprint,
    atoms: int | range,
    most: int = MOST,
) -> list[tuple[str, ...]]:
    r"""List the compositions that a fingerprint may belong to, the best fit first.

    A two-body function sums over pairs, and the pairs of two elements are the same seen from
    either: :math:`n_a \,\mathrm{mean}_a G_b = n_b \,\mathrm{mean}_b G_a` for the means over the
    atoms of each element, in free structures and in crystals. So the pooling ``mean`` per element
    gives the ratios of the numbers of atoms of all elements that are neighbours. Whatever remains
    open, as with other poolings, is enumerated.

    A descriptor with features of the central element alone gives the composition for any number of
    atoms; see :mod:`~jaxrecon.search.stoichiometry`. Of these compositions those of the fewest
    atoms come first, and only as many as ``most`` are listed.

    An element without a trace in the fingerprint counts as absent: an atom without neighbours
    leaves none. Where no composition fits within the errors, because the fingerprint belongs to no
    structure exactly, the list begins with the best fit and has all others whose misfit is up to
    twice as large.

    Args:
        target: the fingerprint, without a unit.
        fingerprint: the settings that it was made with.
        atoms: number of atoms, in the cell or in the free structure; or, for a descriptor with
            features of the central element alone, several numbers, like ``range(2, 21)``.
        most: largest number of compositions to list.

    Returns:
        The compositions, each as the symbols of all atoms, sorted by atomic number.

    Raises:
        ValueError: if there are fewer atoms than elements, or more compositions than ``most``
            where the fingerprint gives ratios alone.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint, featurize
    >>> fingerprint = Fingerprint.preset("default", elements=["H", "C", "N", "O"])
    >>> candidates(featurize(molecule("CH3CHO"), fingerprint)[0], fingerprint, atoms=7)
    [('H', 'H', 'H', 'H', 'C', 'C', 'O')]
    """
    if not isinstance(atoms, range | int | np.integer):
        raise ValueError(f"expected a whole number of atoms or a range of them, got {atoms!r}")
    sizes = atoms if isinstance(atoms, range) else range(atoms, atoms + 1)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"expected atoms >= 1, got {atoms}")
    if reads_compositions(fingerprint):
        return compositions(target, fingerprint, sizes, most)
    if isinstance(atoms, range):
        raise ValueError(
            "expected one number of atoms for a fingerprint that does not tell it, as 'universal' "
            f"does, got {atoms}"
        )
    elements, certain = _present(target, fingerprint)
    if certain and atoms < len(elements):
        raise ValueError(
            f"expected at least {len(elements)} atoms, as the fingerprint has "
            f"{', '.join(elements)}, got {atoms}"
        )
    fewest = 1 if certain else 0
    logs, errors = _ratios(target, fingerprint, elements)
    # Without any ratio all compositions fit. Count them before listing them: they may be too many.
    count = math.comb(atoms - fewest * len(elements) + len(elements) - 1, len(elements) - 1)
    informed = bool(np.isfinite(errors).any())
    if not informed and count > most:
        raise _undecided(str(count), elements, atoms, most)

    def within(width: float) -> list[tuple[int, ...]]:
        """The compositions that fit within the errors times a width, the best first."""
        found = list(islice(_compositions(logs, width * errors, atoms, fewest), most + 1))
        if len(found) > most:
            raise _undecided(f"more than {most}", elements, atoms, most)
        return sorted(found, key=lambda counts: (_misfit(counts, logs, errors), counts))

    # Widen the errors until something fits. Then list all that misfit at most twice as much as the
    # best one, whatever the last width was.
    width = 1.0
    while not (found := within(width)):
        width *= WIDENING
    if width > 1.0:
        found = within(MISFIT_RATIO * _misfit(found[0], logs, errors))
    return [
        tuple(symbol for symbol, n in zip(elements, counts, strict=True) for _ in range(n))
        for counts in found
    ]


def _undecided(count: str, elements: Sequence[str], atoms: int, most: int) -> ValueError:
    """The error to raise where too many compositions fit."""
    return ValueError(
        f"expected symbols, pooling 'mean' per element, or at most {most} compositions of {atoms} "
        f"atoms of {', '.join(elements)} that fit, got {count}"
    )


def _present(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint
) -> tuple[tuple[str, ...], bool]:
    """The elements with a trace in the target, and True; if there are none, all, and False."""
    elements = fingerprint.descriptor.elements
    nonzero = np.abs(target) > ZERO * np.abs(target).max()
    traces = _traces(fingerprint)
    found = tuple(
        element for element in elements if element in traces and nonzero[traces[element]].any()
    )
    return (found, True) if found else (elements, False)


@lru_cache(maxsize=64)
def _traces(fingerprint: Fingerprint) -> dict[str, Int[np.ndarray, " some"]]:
    """For each element, the indices of numbers that are 0 unless it is present.

    These are the numbers of its own atoms or, where all atoms are pooled together, the numbers of
    atoms that have it as a neighbour.
    """
    features = fingerprint.descriptor.features
    indices: dict[str, list[int]] = {}
    for index, number in enumerate(fingerprint.features):
        neighbors = features[number.feature].neighbors
        if fingerprint.per_element:
            indices.setdefault(number.center, []).append(index)
        elif len(neighbors) == 1:
            indices.setdefault(neighbors[0], []).append(index)
    return {element: np.asarray(own) for element, own in indices.items()}


@lru_cache(maxsize=64)
def _pairs(fingerprint: Fingerprint) -> dict[tuple[str, str], Int[np.ndarray, " some"]]:
    """For each central and neighbour element, the indices of the means of radial features."""
    features = fingerprint.descriptor.features
    indices: dict[tuple[str, str], list[int]] = {}
    for index, number in enumerate(fingerprint.features):
        feature = features[number.feature]
        of_pairs = feature.radial is not None and len(feature.neighbors) == 1
        if number.pooling == "mean" and number.center and of_pairs:
            indices.setdefault((number.center, feature.neighbors[0]), []).append(index)
    return {pair: np.asarray(own) for pair, own in indices.items()}


def _ratios(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint, elements: Sequence[str]
) -> tuple[Float[np.ndarray, "e e"], Float[np.ndarray, "e e"]]:
    r"""Logarithms of the ratios of the numbers of atoms of any two elements, and their errors.

    Entry (a, b) is :math:`\log(n_a / n_b)`. Its error is infinite if the fingerprint does not say.
    """
    # Compare sums over all features: the largest ones dominate, and these are the most precise.
    sums = np.zeros((len(elements), len(elements)))
    for (center, neighbor), indices in _pairs(fingerprint).items():
        if {center, neighbor} <= set(elements):
            sums[elements.index(center), elements.index(neighbor)] = target[indices].sum()
    known = (sums > 0.0) & (sums.T > 0.0) & ~np.eye(len(elements), dtype=bool)
    safe = np.where(known, sums, 1.0)
    errors = PRECISION * sums.max() * (1.0 / safe + 1.0 / safe.T)
    return np.log(safe.T / safe), np.where(known, errors, np.inf)


def _compositions(
    logs: Float[np.ndarray, "e e"], errors: Float[np.ndarray, "e e"], atoms: int, fewest: int
) -> Iterator[tuple[int, ...]]:
    """All numbers of atoms per element with the given sum and with ratios within the errors."""
    # Order the elements so that the most precise ratio of each is to one before it. Then nearly all
    # branches of the enumeration end in a composition.
    order = [0]
    while len(order) < len(errors):
        others = [element for element in range(len(errors)) if element not in order]
        order.append(min(others, key=lambda element: errors[order, element].min()))

    def continued(counts: dict[int, int], left: int) -> Iterator[tuple[int, ...]]:
        """The ways to divide the atoms left among the elements that have no number yet."""
        if len(counts) == len(order):
            yield tuple(counts[element] for element in range(len(order)))
            return
        element = order[len(counts)]
        later = len(order) - len(counts) - 1
        # The last element takes all atoms left. Any other one leaves enough for those after it.
        low, high = float(fewest if later else left), float(left - fewest * later)
        for other, count in counts.items():
            log, error = logs[element, other], errors[element, other]
            if error < LARGEST_LOG_ERROR:
                low = max(low, count * np.exp(log - error))
                high = min(high, count * np.exp(log + error))
        for count in range(math.ceil(low), math.floor(high) + 1):
            yield from continued({**counts, element: count}, left - count)

    return continued({}, atoms)


def _misfit(
    counts: Sequence[int], logs: Float[np.ndarray, "e e"], errors: Float[np.ndarray, "e e"]
) -> float:
    """Largest deviation of the logarithm of a ratio, in units of its error."""
    own = np.log(np.maximum(counts, 1))
    return float((np.abs(own[:, None] - own[None, :] - logs) / errors).max(initial=0.0))

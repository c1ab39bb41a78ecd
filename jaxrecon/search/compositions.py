"""Which elements a fingerprint has, and how many atoms of each it may belong to."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np
from jaxtyping import Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint

MOST = 32
"""Compositions that are worth a search each."""

DIGITS = 1e-5
"""Error that a number may have, in units of the largest one: ten times that of float32."""

USELESS = 50.0
"""Error of a logarithm from where on it tells nothing, and its exponential is no number."""

WIDER = 1.5
"""Factor by which larger errors are tried, if no composition fits within those."""

TWICE = 2.0
"""Misfit up to which others are possible then, in units of that of the best."""


def candidates(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint, atoms: int, most: int = MOST
) -> list[tuple[str, ...]]:
    r"""Compositions that a fingerprint may belong to, the one that fits best first.

    A two-body function sums over pairs, and both elements count the same ones: of their means
    :math:`n_a \,\mathrm{mean}_a G_b = n_b \,\mathrm{mean}_b G_a`, in free structures and in
    crystals. So the pooling ``mean`` for each element tells the ratios of the numbers of atoms of
    all elements that see each other. Whatever it leaves open, as another pooling does, is
    enumerated. An element whose numbers are all 0 is taken for absent: an atom that sees no other
    leaves no trace. If the numbers are of no structure exactly, what fits best comes first, and
    what misfits up to twice as much follows.

    Args:
        target: the fingerprint, without a unit.
        fingerprint: what it was made with.
        atoms: how many there are, in the cell or in all.
        most: compositions at most.

    Returns:
        Symbols of all atoms by atomic number, one tuple a composition.

    Raises:
        ValueError: if there are fewer atoms than elements, or more compositions than ``most``.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint, featurize
    >>> fingerprint = Fingerprint.preset("default", elements=["H", "C", "N", "O"])
    >>> candidates(featurize(molecule("CH3CHO"), fingerprint)[0], fingerprint, atoms=7)
    [('H', 'H', 'H', 'H', 'C', 'C', 'O')]
    """
    if atoms < 1:
        raise ValueError(f"expected atoms >= 1, got {atoms}")
    there, sure = _present(target, fingerprint)
    if sure and atoms < len(there):
        raise ValueError(
            f"expected at least {len(there)} atoms, as the fingerprint has {', '.join(there)}, "
            f"got {atoms}"
        )
    least = 1 if sure else 0
    logs, errors = _ratios(target, fingerprint, there)
    count = math.comb(atoms - least * len(there) + len(there) - 1, len(there) - 1)
    informed = bool(np.isfinite(errors).any())
    if not informed and count > most:
        raise _undecided(str(count), there, atoms, most)

    def within(width: float) -> list[tuple[int, ...]]:
        found = list(islice(_compositions(logs, width * errors, atoms, least), most + 1))
        if len(found) > most:
            raise _undecided(f"more than {most}", there, atoms, most)
        return sorted(found, key=lambda counts: (_misfit(counts, logs, errors), counts))

    width = 1.0
    while not (found := within(width)):
        width *= WIDER
    if width > 1.0:
        found = within(TWICE * _misfit(found[0], logs, errors))
    return [
        tuple(s for s, n in zip(there, counts, strict=True) for _ in range(n)) for counts in found
    ]


def _undecided(count: str, elements: Sequence[str], atoms: int, most: int) -> ValueError:
    return ValueError(
        f"expected symbols, or a fingerprint with pooling 'mean' per element, to tell the "
        f"composition of {atoms} atoms of {', '.join(elements)}, got {count} that fit, not at "
        f"most {most}"
    )


def _present(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint
) -> tuple[tuple[str, ...], bool]:
    """The elements that left a trace; if they leave none, all, of which some may be absent."""
    elements = fingerprint.descriptor.elements
    seen = np.abs(target) > DIGITS / 10.0 * np.abs(target).max()
    traces = _traces(fingerprint)
    found = tuple(each for each in elements if each in traces and seen[traces[each]].any())
    return (found, True) if found else (elements, False)


@lru_cache(maxsize=64)
def _traces(fingerprint: Fingerprint) -> dict[str, Int[np.ndarray, " some"]]:
    """The numbers that are 0 unless an element is present, by the element.

    These are the numbers of its atoms, or, where all atoms are pooled, of those that see it.
    """
    features = fingerprint.descriptor.features
    places: dict[str, list[int]] = {}
    for place, number in enumerate(fingerprint.numbers):
        seen = features[number.feature].neighbors
        if fingerprint.per_element:
            places.setdefault(number.center, []).append(place)
        elif len(seen) == 1:
            places.setdefault(seen[0], []).append(place)
    return {element: np.asarray(some) for element, some in places.items()}


@lru_cache(maxsize=64)
def _pairs(fingerprint: Fingerprint) -> dict[tuple[str, str], Int[np.ndarray, " some"]]:
    """Means of radial features over the atoms of one element, by that and the neighbour element."""
    features = fingerprint.descriptor.features
    places: dict[tuple[str, str], list[int]] = {}
    for place, number in enumerate(fingerprint.numbers):
        feature = features[number.feature]
        if number.pooling == "mean" and number.center and feature.radial is not None:
            places.setdefault((number.center, feature.neighbors[0]), []).append(place)
    return {pair: np.asarray(some) for pair, some in places.items()}


def _ratios(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint, elements: Sequence[str]
) -> tuple[Float[np.ndarray, "e e"], Float[np.ndarray, "e e"]]:
    """Logarithms of the numbers of atoms of each element by those of each, and their errors."""
    sums = np.zeros((len(elements), len(elements)))
    for (center, neighbor), places in _pairs(fingerprint).items():
        if {center, neighbor} <= set(elements):
            sums[elements.index(center), elements.index(neighbor)] = target[places].sum()
    known = (sums > 0.0) & (sums.T > 0.0) & ~np.eye(len(elements), dtype=bool)
    safe = np.where(known, sums, 1.0)
    # The ratio of two sums is governed by the largest functions, which have the most digits.
    errors = DIGITS * sums.max() * (1.0 / safe + 1.0 / safe.T)
    return np.log(safe.T / safe), np.where(known, errors, np.inf)


def _compositions(
    logs: Float[np.ndarray, "e e"], errors: Float[np.ndarray, "e e"], atoms: int, least: int
) -> Iterator[tuple[int, ...]]:
    """Numbers of atoms, ``atoms`` in all, whose ratios are within the errors."""
    order = [0]
    # Each element after one that tells most of it: nearly every guess is right.
    while len(order) < len(errors):
        others = [each for each in range(len(errors)) if each not in order]
        order.append(min(others, key=lambda each: errors[order, each].min()))

    def continued(counts: dict[int, int], left: int) -> Iterator[tuple[int, ...]]:
        if len(counts) == len(order):
            yield tuple(counts[place] for place in range(len(order)))
            return
        place = order[len(counts)]
        later = len(order) - len(counts) - 1
        low, high = float(least if later else left), float(left - least * later)
        for other, count in counts.items():
            middle, error = logs[place, other], errors[place, other]
            if error < USELESS:
                low = max(low, count * np.exp(middle - error))
                high = min(high, count * np.exp(middle + error))
        for count in range(math.ceil(low), math.floor(high) + 1):
            yield from continued({**counts, place: count}, left - count)

    return continued({}, atoms)


def _misfit(
    counts: Sequence[int], logs: Float[np.ndarray, "e e"], errors: Float[np.ndarray, "e e"]
) -> float:
    """The largest deviation of a ratio, in units of its error."""
    own = np.log(np.maximum(counts, 1))
    return float((np.abs(own[:, None] - own[None, :] - logs) / errors).max(initial=0.0))

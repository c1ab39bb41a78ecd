r"""Compositions from numbers that are linear in them, for any number of atoms.

Some features of a row depend on the element of the central atom alone
(:attr:`~jaxrecon.descriptors.base.Descriptor.center_values`). With the part :math:`x_e` that
element e has of all atoms, their means over all atoms, and those of their squares, are

.. math:: m_k = \sum_e x_e v_{ek}, \qquad m'_k = \sum_e x_e v_{ek}^2 .

So the parts are a nonnegative least-squares problem (Lawson and Hanson, Solving Least Squares
Problems, 1974, chapter 23), and for n atoms the numbers of atoms of the elements are whole numbers
near :math:`n x_e`.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint

PRECISION = 1e-5
"""Largest misfit of a mean, without a unit, at which a composition fits exactly."""

MISFIT_RATIO = 2.0
"""Largest misfit of a composition relative to the best one, where none fits exactly."""

EXCHANGES = 40
"""Largest number of atoms whose element is exchanged to improve a rounded composition."""


def reads_compositions(fingerprint: Fingerprint) -> bool:
    """Whether compositions can be read from a fingerprint: by their means over all atoms.

    Args:
        fingerprint: the settings of the fingerprint.
    """
    return (
        fingerprint.descriptor.center_values is not None
        and "mean" in fingerprint.poolings
        and not fingerprint.per_element
    )


def compositions(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint, sizes: Iterable[int], most: int
) -> list[tuple[str, ...]]:
    """List the compositions that a fingerprint may belong to, those of the fewest atoms first.

    Where no composition fits exactly, because the fingerprint belongs to no structure, the list has
    all found whose misfit is up to twice that of the best.

    Args:
        target: the fingerprint, without a unit.
        fingerprint: the settings that it was made with; :func:`reads_compositions` of them.
        sizes: numbers of atoms to consider.
        most: largest number of compositions to list.

    Returns:
        The compositions, each as the symbols of all atoms, sorted by atomic number.
    """
    matrix, means = _equations(target, fingerprint)
    parts = _parts(matrix, means)
    found: dict[tuple[int, ...], float] = {}
    for size in sorted(set(sizes)):
        for counts, misfit in _whole(matrix, means, parts, size):
            found.setdefault(counts, misfit)
    best = min(found.values())
    limit = PRECISION if best <= PRECISION else MISFIT_RATIO * best
    fitting = sorted((sum(c), misfit, c) for c, misfit in found.items() if misfit <= limit)
    elements = fingerprint.descriptor.elements
    return [
        tuple(symbol for symbol, n in zip(elements, counts, strict=True) for _ in range(n))
        for _, _, counts in fitting[:most]
    ]


def nearest_composition(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint, size: int
) -> tuple[tuple[str, ...], float]:
    """Find the composition that comes nearest to a fingerprint that need not belong to a structure.

    Args:
        target: the fingerprint, without a unit.
        fingerprint: the settings that it was made with; :func:`reads_compositions` of them. Only
            its elements occur.
        size: number of atoms.

    Returns:
        The symbols of all atoms, sorted by atomic number, and the misfit: the largest difference of
        a mean, without a unit.
    """
    matrix, means = _equations(target, fingerprint)
    counts, misfit = min(
        _whole(matrix, means, _parts(matrix, means), size), key=lambda found: found[1]
    )
    elements = fingerprint.descriptor.elements
    return tuple(
        symbol for symbol, n in zip(elements, counts, strict=True) for _ in range(n)
    ), misfit


def with_composition(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint, symbols: Sequence[str]
) -> Float[np.ndarray, " p"]:
    """Give a fingerprint the numbers of a composition in place of its own.

    Args:
        target: the fingerprint, without a unit.
        fingerprint: the settings that it was made with; :func:`reads_compositions` of them.
        symbols: symbols of all atoms.

    Returns:
        A copy with the means, and second moments, of the features that depend on the central
        element alone; all other numbers are as they were.
    """
    known = fingerprint.descriptor.center_values
    assert known is not None
    elements = fingerprint.descriptor.elements
    values = known.values[[elements.index(symbol) for symbol in symbols]]
    changed = np.array(target)
    for place, kind in enumerate(fingerprint.poolings):
        if kind in ("mean", "moment2"):
            pool = values.mean(axis=0) if kind == "mean" else values.var(axis=0)
            changed[fingerprint.descriptor.size * place + known.features] = pool
    return changed


def _equations(
    target: Float[np.ndarray, " p"], fingerprint: Fingerprint
) -> tuple[Float[np.ndarray, "k e"], Float[np.ndarray, " k"]]:
    """What each element adds to each mean, and the means, those of squares below."""
    known = fingerprint.descriptor.center_values
    assert known is not None
    size = fingerprint.descriptor.size
    start = {kind: size * place for place, kind in enumerate(fingerprint.poolings)}
    means = target[start["mean"] + known.features]
    matrix = known.values.T
    if "moment2" in start:
        squares = target[start["moment2"] + known.features] + means**2
        return np.concatenate([matrix, matrix**2]), np.concatenate([means, squares])
    return matrix, means


def _parts(matrix: np.ndarray, means: np.ndarray) -> Float[np.ndarray, " e"]:
    """The part that each element has of all atoms, by nonnegative least squares."""
    from scipy.optimize import nnls

    # The last equation says that all parts are 1 together.
    whole = float(len(means))
    equations = np.concatenate([matrix, np.full((1, matrix.shape[1]), whole)])
    return np.asarray(nnls(equations, np.append(means, whole))[0])


def _whole(
    matrix: np.ndarray, means: np.ndarray, parts: np.ndarray, size: int
) -> list[tuple[tuple[int, ...], float]]:
    """Numbers of atoms near the parts, with their misfit: the best found, and one exchange off."""
    counts = np.floor(size * parts + 1e-6).astype(int)
    # Round to the whole number that all add up to: those with the largest remainders up.
    order = np.argsort(counts - size * parts)
    missing = size - counts.sum()
    for element in order[: max(missing, 0)]:
        counts[element] += 1
    while counts.sum() > size:
        counts[np.argmax(np.where(counts > 0, counts - size * parts, -np.inf))] -= 1
    # Exchange the element of one atom as long as that improves the fit.
    for _ in range(EXCHANGES):
        donors = np.flatnonzero(counts)
        change = (matrix[:, None, :] - matrix[:, donors, None]) / size
        error = (matrix @ counts / size - means)[:, None, None] + change
        misfits = np.abs(error).max(axis=0)
        here = float(np.abs(matrix @ counts / size - means).max())
        donor, taker = np.unravel_index(np.argmin(misfits), misfits.shape)
        if misfits[donor, taker] >= here * (1.0 - 1e-9):
            break
        counts[donors[donor]] -= 1
        counts[taker] += 1
    near = [(_tuple(counts), here)]
    for donor, taker in zip(*np.nonzero(misfits <= MISFIT_RATIO * here), strict=True):
        other = counts.copy()
        other[donors[donor]] -= 1
        other[taker] += 1
        near.append((_tuple(other), float(misfits[donor, taker])))
    return near


def _tuple(counts: Int[np.ndarray, " e"]) -> tuple[int, ...]:
    return tuple(int(count) for count in counts)

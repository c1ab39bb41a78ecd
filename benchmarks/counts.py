r"""The work that a fingerprint needs, counted with pencil: the floor below which no program gets.

Counted is a program that computes every term once, where it is first needed, and keeps it: n atoms,
atom i with :math:`m_i` neighbours, :math:`P = \sum_i m_i / 2` pairs of them (in a crystal too: an
atom sees an image from the other side, equally far), :math:`T = \sum_i m_i (m_i - 1) / 2` triples,
a central atom and two of its neighbours. G2 has F functions on C centres a channel; G5 A angular
factors (zeta x lambda) and H radial ones (eta) a pair of channels; s channels, W selecting poolings
(max, min), so p = W (s F + s (s+1)/2 A H) numbers.

*Exponentials* are those and the other slow functions, a root or a cosine, one each.
*Multiply-adds* are instructions of the unit for them: a sum or a product alone takes as long.
*Bytes* are what must come from main memory and go there: positions, targets, results, in float32.

The functions are taken as they are defined. Ways around them would need less: Gaussians on equally
spaced centres follow from each other by two products each, and sums over pairs with zeta <= 4 from
moments of the neighbours' directions.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from math import log2
from typing import NamedTuple

from jaxrecon import Fingerprint

NUMBER = 4
"""Bytes of a float32."""


class Counts(NamedTuple):
    """Work of one evaluation."""

    exponentials: int
    multiply_adds: int
    bytes: int


class Machine(NamedTuple):
    """What a machine does in a second at most."""

    exponentials: float
    multiply_adds: float
    bytes: float

    @property
    def exponential(self) -> float:
        """How many multiply-adds take as long as one exponential."""
        return self.multiply_adds / self.exponentials


H200 = Machine(exponentials=67e12 / 2 / 8, multiply_adds=67e12 / 2, bytes=4.3e12)
"""Nominal: 67 TFLOP/s in float32, 16 exponentials for 128 multiply-adds of a multiprocessor in a
cycle; the bandwidth is that of a measured copy."""


class Problem(NamedTuple):
    """What decides the work.

    Attributes:
        composition: atoms of each of the fingerprint's elements.
        seen: neighbours of each atom.
        gaussians: G2 functions a channel.
        centres: different r_s of those.
        zetas: exponents of the angular factors of G5, whole numbers.
        signs: number of its lambdas.
        etas: number of its radial factors.
        poolings: number of poolings, each of which selects one atom a feature.
    """

    composition: tuple[int, ...]
    seen: tuple[int, ...]
    gaussians: int
    centres: int
    zetas: tuple[int, ...]
    signs: int
    etas: int
    poolings: int

    @classmethod
    def of(cls, fingerprint: Fingerprint, symbols: Sequence[str], seen: Sequence[int]) -> "Problem":
        """The problem of a fingerprint of G2 and G5 for atoms that see so many neighbours."""
        acsf = fingerprint.descriptor
        return cls(
            composition=tuple(list(symbols).count(element) for element in acsf.elements),
            seen=tuple(seen),
            gaussians=len(acsf.g2_eta) * len(acsf.g2_r_s),
            centres=len(acsf.g2_r_s),
            zetas=tuple(int(zeta) for zeta in acsf.g5_zeta),
            signs=len(acsf.g5_lam),
            etas=len(acsf.g5_eta),
            poolings=len(fingerprint.poolings),
        )

    @property
    def atoms(self) -> int:
        """N."""
        return len(self.seen)

    @property
    def pairs(self) -> int:
        """P, each counted once."""
        return sum(self.seen) // 2

    @property
    def triples(self) -> int:
        """T, each counted once."""
        return sum(m * (m - 1) // 2 for m in self.seen)

    @property
    def channels(self) -> int:
        """S."""
        return len(self.composition)

    @property
    def angular(self) -> int:
        """A."""
        return len(self.zetas) * self.signs

    @property
    def features(self) -> int:
        """Entries of the row of an atom."""
        pairs = self.channels * (self.channels + 1) // 2
        return self.channels * self.gaussians + pairs * self.angular * self.etas

    @property
    def numbers(self) -> int:
        """P."""
        return self.poolings * self.features


def powers(zetas: Sequence[int]) -> int:
    """Multiplications for all these powers of one number, by repeated squaring.

    1, 2, 4, 16, 64 are six squarings: 2, 4, 8, 16, 32, 64.

    >>> powers([1, 2, 4, 16, 64]), powers([1, 4, 16]), powers([3])
    (6, 4, 2)
    """
    return int(log2(max(zetas))) + sum(zeta.bit_count() - 1 for zeta in zetas)


def value(problem: Problem) -> Counts:
    """The fingerprint.

    - A pair: vector 3, square 3, direction 3, cutoff 2 (root and cosine: 2 exponentials); offsets
      from the centres and their squares, 2 C; a Gaussian: an exponential, its exponent 1, times the
      cutoff into the sums of both atoms 2; a radial factor of G5: an exponential, exponent 1, times
      the cutoff 1.
    - A triple: cosine 3; for each sign 1 + lambda cos and its powers; products of two radial
      factors H; sums A H.
    - Pooling: one comparison an entry and pooling.
    - Bytes: 3 n positions in, p numbers out.
    """
    q = problem
    pair = 11 + 2 * q.centres + 3 * q.gaussians + 2 * q.etas
    triple = 3 + q.signs * (1 + powers(q.zetas)) + q.etas + q.angular * q.etas
    return Counts(
        exponentials=q.pairs * (2 + q.gaussians + q.etas),
        multiply_adds=q.pairs * pair + q.triples * triple + q.poolings * q.features * q.atoms,
        bytes=NUMBER * (3 * q.atoms + q.numbers),
    )


def gradient(problem: Problem) -> Counts:
    """The value, the loss and its gradient, pulled back through the entries that win.

    - Loss: difference and sum, 2 p.
    - Of a winner of G2 and a neighbour of it: three sums, of w g and of w eta g (r - r_s).
    - Of a winner of G5 and two neighbours of it: what goes back to the angular factor and to the
      product of the radial ones, 2. All atoms win something, so each triple: back through the
      powers 2 each, lambda 1 for each sign; back to two radial factors 2 H; to two directions 6.
    - A pair: sine of the cutoff (1 exponential); its two ends' radial factors 4 H, the slope by the
      distance 6; from directions to vectors 15, onto both atoms 6.
    - Bytes: positions and targets in, loss and gradient out.
    """
    q, whole = problem, value(problem)
    pair = 4 * q.etas + 27
    triple = q.signs * (2 * powers(q.zetas) + 1) + 2 * q.etas + 6
    work = (
        2 * q.numbers
        + 3 * _winner_pairs(q)
        + 2 * _winner_triples(q)
        + q.triples * triple
        + q.pairs * pair
    )
    return Counts(
        exponentials=whole.exponentials + q.pairs,
        multiply_adds=whole.multiply_adds + work,
        bytes=NUMBER * (3 * q.atoms + q.numbers + 1 + 3 * q.atoms),
    )


def jacobian(problem: Problem) -> Counts:
    """The value and its derivatives by the positions, rows of the winners alone.

    - Of a winner of G2 and a neighbour: slope 2, times the direction 3, taken off the centre 3.
    - Of a winner of G5 and two neighbours: the slope's weight 1, times the direction of each to the
      other 6, the two sums of angular times radial factors 2; then for each neighbour, in each of
      the s pairs of channels that has its element: projection 3, slope along the direction 2, both
      together 6, taken off the centre 3.
    - A triple: the slopes of A angular factors, 2 each. A pair: sine of the cutoff (1 exponential)
      and 1, offsets times cutoff C, slopes of the radial factors 2 H.
    - Bytes: positions in, p numbers and p x 3 n derivatives out.
    """
    q, whole = problem, value(problem)
    ends = q.poolings * q.angular * q.etas * q.channels * sum(q.seen) // q.atoms
    work = (
        8 * _winner_pairs(q)
        + 9 * _winner_triples(q)
        + 14 * ends
        + q.triples * 2 * q.angular
        + q.pairs * (1 + q.centres + 2 * q.etas)
    )
    return Counts(
        exponentials=whole.exponentials + q.pairs,
        multiply_adds=whole.multiply_adds + work,
        bytes=NUMBER * (3 * q.atoms + q.numbers * (1 + 3 * q.atoms)),
    )


def step(problem: Problem) -> Counts:
    """A Levenberg-Marquardt step, the Jacobian kept near.

    - A row of the Jacobian has d = 3 x (atoms of its channels and the centre) entries that are not
      zero: half of the Gram matrix d (d+1)/2, gradient d; residual 2.
    - Cholesky factor (3 n)^3 / 6, two triangular solves (3 n)^2.
    - Bytes: positions and targets in, residual and positions out.
    """
    q, whole = problem, jacobian(problem)
    rows = [(count, q.gaussians) for count in q.composition]
    for a, b in combinations_with_replacement(range(q.channels), 2):
        count = q.composition[a] + (q.composition[b] if a != b else 0)
        rows.append((count, q.angular * q.etas))
    products = 0
    for count, functions in rows:
        d = 3 * min(q.atoms, count + 1)
        products += q.poolings * functions * (d * (d + 1) // 2 + d + 2)
    size = 3 * q.atoms
    return Counts(
        exponentials=whole.exponentials,
        multiply_adds=whole.multiply_adds + products + size**3 // 6 + size**2,
        bytes=NUMBER * (3 * q.atoms + q.numbers + 1 + 3 * q.atoms),
    )


def _winner_pairs(problem: Problem) -> int:
    """A winner of G2 and a neighbour in its channel: W F in all channels together, each m times."""
    q = problem
    return q.poolings * q.gaussians * sum(q.seen) // q.atoms


def _winner_triples(problem: Problem) -> int:
    """A winner of G5 and two neighbours in its pair of channels: W A H, each T / n times."""
    q = problem
    return q.poolings * q.angular * q.etas * q.triples // q.atoms


def floor(counts: Counts, machine: Machine) -> float:
    """Microseconds below which an evaluation can't get: of computing or of moving, the longer."""
    compute = counts.exponentials / machine.exponentials
    compute += counts.multiply_adds / machine.multiply_adds
    return 1e6 * max(compute, counts.bytes / machine.bytes)


WORK = {
    "fingerprint": value,
    "loss and gradient": gradient,
    "fingerprint and Jacobian": jacobian,
    "Levenberg-Marquardt step": step,
}
"""The rows of the benchmark."""


def table(problem: Problem) -> list[str]:
    """Lines of text: the counts of each row, and its floor on an H200."""
    lines = [f"{'':<26}{'exponentials':>13}{'multiply-adds':>15}{'bytes':>9}{'H200, ns':>10}"]
    for name, count in WORK.items():
        each = count(problem)
        lines.append(
            f"{name:<26}{each.exponentials:>13,}{each.multiply_adds:>15,}{each.bytes:>9,}"
            f"{1e3 * floor(each, H200):>10.1f}"
        )
    return lines

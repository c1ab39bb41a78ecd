"""ReconstructConfig: every setting of the search, validated once, without importing jax."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any


@dataclass(frozen=True)
class ReconstructConfig:
    """Settings of the search: hashable, so that they are static under ``jit``.

    A hop of one replica is a move away from a good structure, ``adam_steps`` of Adam on the L1 loss
    and ``refine_steps`` of Levenberg-Marquardt. A target ends when its residual reaches
    ``tolerance`` or after ``hops``.

    Attributes:
        replicas: structures that search for one target together; 0 for 64 where largest or smallest
            values are pooled, and 16 where the fingerprint is smooth.
        hops: rounds at most, the first from random positions.
        restart_after: hops without a better structure after which all replicas start afresh.
        tolerance: mean absolute residual that certifies a solution, without a unit.
        solutions: different structures that are wanted of each target.
        min_distance: what two atoms keep at least, in units of the sum of their covalent radii; 0
            for anything.
        adam_steps: gradient steps of each hop.
        learning_rate: first Adam step, in Angstrom.
        refine_steps: Levenberg-Marquardt steps of each hop.
        max_step: longest move of an atom in one of those, in Angstrom.
        parents: part of the population that the next hop starts from, by residual.
        moves: weights of moves that differ from the defaults, by name, like ``{"swap": 0.0}``; the
            names and defaults are in :data:`jaxrecon.search.moves.MOVES`. Stored as sorted pairs.
        inversion: how often a fresh start of a crystal has a centre of inversion, and a move of one
            that has it keeps it.
        sites: sites screened by each relocation.
        shake_range: smallest and largest width of a shake, in Angstrom.
        polish_steps: float64 Levenberg-Marquardt steps on a structure better than all before.

    Raises:
        ValueError: if a value is out of range, named with what was expected and what came.

    >>> config = ReconstructConfig(hops=100, min_distance=0.7)
    >>> config.replace(replicas=32).evaluations_per_hop
    {'values': 832, 'gradients': 0, 'jacobians': 992}
    """

    replicas: int = 0
    hops: int = 600
    restart_after: int = 25
    tolerance: float = 1e-6
    solutions: int = 1
    min_distance: float = 0.0
    adam_steps: int = 0
    learning_rate: float = 0.1
    refine_steps: int = 30
    max_step: float = 2.0
    parents: float = 0.25
    moves: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    inversion: float = 0.5
    sites: int = 24
    shake_range: tuple[float, float] = (0.02, 1.0)
    polish_steps: int = 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "shake_range", tuple(self.shake_range))
        object.__setattr__(self, "moves", tuple(sorted(dict(self.moves).items())))
        for name in ("hops", "restart_after", "solutions", "refine_steps", "sites"):
            self._check(name, "a whole number >= 1", isinstance(getattr(self, name), int))
            self._check(name, "a whole number >= 1", getattr(self, name) >= 1)
        for name in ("replicas", "adam_steps", "polish_steps"):
            self._check(name, "a whole number >= 0", isinstance(getattr(self, name), int))
            self._check(name, "a whole number >= 0", getattr(self, name) >= 0)
        for name in ("tolerance", "learning_rate", "max_step"):
            self._check(name, "a number > 0", getattr(self, name) > 0)
        self._check("parents", "a fraction in (0, 1]", 0 < self.parents <= 1)
        self._check("min_distance", "a number in [0, 1)", 0 <= self.min_distance < 1)
        self._check("inversion", "a fraction in [0, 1]", 0 <= self.inversion <= 1)
        self._check(
            "moves",
            "finite weights >= 0 by name",
            all(0 <= weight < inf for weight in dict(self.moves).values()),
        )
        low, high = self.shake_range
        self._check("shake_range", "0 < low <= high in Angstrom", 0 < low <= high)

    def _check(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            raise ValueError(f"expected {name} to be {expected}, got {getattr(self, name)!r}")

    @classmethod
    def fung2022(cls) -> "ReconstructConfig":
        """Algorithm 1 of Fung et al.: ten trials, five hops of Adam, refined at the end of each."""
        return cls(replicas=10, hops=5, adam_steps=1000, refine_steps=30)

    def replace(self, **changes: Any) -> "ReconstructConfig":
        """A copy with some settings changed.

        Args:
            **changes: settings by name, like ``hops=50``.

        Raises:
            ValueError: if a name is not a setting.
        """
        unknown = set(changes) - set(self.__dataclass_fields__)
        if unknown:
            raise ValueError(
                f"expected settings among {sorted(self.__dataclass_fields__)}, "
                f"got {sorted(unknown)}"
            )
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data."""
        return {**asdict(self), "moves": dict(self.moves)}

    def settled(self, *, smooth: bool) -> "ReconstructConfig":
        """The settings with the number of replicas, if it was left open.

        Args:
            smooth: whether the fingerprint has no largest and smallest values.
        """
        return self if self.replicas else replace(self, replicas=16 if smooth else 64)

    @property
    def compiled(self) -> "ReconstructConfig":
        """The settings that a compiled program depends on, the others as they are by default."""
        plain = ReconstructConfig
        return replace(
            self,
            hops=plain.hops,
            restart_after=plain.restart_after,
            tolerance=plain.tolerance,
            solutions=plain.solutions,
            moves=plain.moves,
        )

    @property
    def evaluations_per_hop(self) -> dict[str, int]:
        """Fingerprint evaluations of one hop of all replicas, by kind.

        ``values``: the fingerprint alone (screened sites, and two to find the attribution);
        ``gradients``: loss and gradient (Adam); ``jacobians``: value and Jacobian (refinement).
        """
        return {
            "values": self.replicas * (self.sites + 2),
            "gradients": self.replicas * self.adam_steps,
            "jacobians": self.replicas * (self.refine_steps + 1),
        }

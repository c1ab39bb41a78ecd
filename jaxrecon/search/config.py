"""ReconstructConfig: all settings of a search. This module does not import jax."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf
from operator import index
from typing import Any


@dataclass(frozen=True)
class ReconstructConfig:
    """Settings of a search. They are hashable, so that they can be static under ``jit``.

    In each hop, every replica makes a random move away from a good structure, ``adam_steps`` steps
    of Adam on the L1 loss, and ``refine_steps`` steps of Levenberg-Marquardt. The search for a
    target ends when its residual reaches ``tolerance``, or after ``hops``.

    Attributes:
        replicas: number of structures that search for one target together. 0 means 64 if the
            fingerprint pools largest or smallest values, and 16 if it is smooth.
        hops: largest number of hops for one target; the first one starts from random positions.
        restart_after: number of hops without a residual that is lower by 2 % after which all
            replicas start again from random positions.
        patience: number of hops without a residual that is lower by 2 % after which a search ends;
            0 for no such end. For targets that no structure has exactly, such as drawn ones.
        tolerance: mean absolute residual at which a structure counts as a solution, without a unit.
        position_tolerance: position error in Angstrom that such a residual may leave: above it, a
            solution is polished further while that helps, and counts as uncertain if it does not.
        solutions: number of different structures to find for each target.
        min_distance: smallest distance of two atoms in a solution, in units of the sum of their
            covalent radii; 0 for no limit.
        adam_steps: steps of Adam in each hop.
        learning_rate: learning rate of the first of these steps, in Angstrom.
        refine_steps: Levenberg-Marquardt steps in each hop.
        max_step: longest move of an atom in one of these steps, in Angstrom.
        parents: fraction of the population, the best by residual, that the next hop starts from.
        moves: weights of the moves that differ from their defaults, by name, like
            ``{"swap": 0.0}``. :data:`jaxrecon.search.moves.MOVES` has the names and defaults. They
            are stored as sorted pairs.
        inversion: probability that a random start of a crystal has a centre of inversion, and that
            a move of a crystal with a centre preserves it.
        point_groups: probability that a random start of a free structure has a random point group,
            which its descent preserves.
        candidates: number of random sites of an atom that moves, or of random starts, of which a
            replica takes the best before it descends.
        shake_range: smallest and largest standard deviation of the noise of a shake, in Angstrom.
        polish_steps: Levenberg-Marquardt steps in float64 in one round of polishing, which every
            structure gets that is better than all before it.

    Raises:
        ValueError: if a value is out of range; the message names the setting.

    >>> config = ReconstructConfig(hops=100, min_distance=0.7)
    >>> config.replace(replicas=32).evaluations_per_hop
    {'values': 832, 'gradients': 0, 'jacobians': 992}
    """

    replicas: int = 0
    hops: int = 600
    restart_after: int = 5
    patience: int = 0
    tolerance: float = 1e-6
    position_tolerance: float = 1e-4
    solutions: int = 1
    min_distance: float = 0.0
    adam_steps: int = 0
    learning_rate: float = 0.1
    refine_steps: int = 30
    max_step: float = 2.0
    parents: float = 0.25
    moves: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    inversion: float = 0.5
    point_groups: float = 0.2
    candidates: int = 24
    shake_range: tuple[float, float] = (0.02, 1.0)
    polish_steps: int = 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "shake_range", tuple(self.shake_range))
        object.__setattr__(self, "moves", tuple(sorted(dict(self.moves).items())))
        for name, value in vars(self).items():
            if hasattr(value, "__index__") and not isinstance(value, int):
                object.__setattr__(self, name, index(value))  # an integer of NumPy
        for name in ("hops", "restart_after", "solutions", "refine_steps", "candidates"):
            self._check(name, "a whole number >= 1", isinstance(getattr(self, name), int))
            self._check(name, "a whole number >= 1", getattr(self, name) >= 1)
        for name in ("replicas", "adam_steps", "polish_steps", "patience"):
            self._check(name, "a whole number >= 0", isinstance(getattr(self, name), int))
            self._check(name, "a whole number >= 0", getattr(self, name) >= 0)
        for name in ("tolerance", "position_tolerance", "learning_rate", "max_step"):
            self._check(name, "a number > 0", getattr(self, name) > 0)
        self._check("parents", "a fraction in (0, 1]", 0 < self.parents <= 1)
        self._check("min_distance", "a number in [0, 1)", 0 <= self.min_distance < 1)
        for name in ("inversion", "point_groups"):
            self._check(name, "a fraction in [0, 1]", 0 <= getattr(self, name) <= 1)
        self._check(
            "moves",
            "finite weights >= 0 by name",
            all(0 <= weight < inf for weight in dict(self.moves).values()),
        )
        low, high = self.shake_range
        self._check("shake_range", "0 < low <= high in Angstrom", 0 < low <= high)

    def _check(self, name: str, expected: str, holds: bool) -> None:
        """Raise unless a condition on a setting holds."""
        if not holds:
            raise ValueError(f"expected {name} to be {expected}, got {getattr(self, name)!r}")

    @classmethod
    def fung2022(cls) -> "ReconstructConfig":
        """Settings for algorithm 1 of Fung et al., arXiv 2207.13227.

        Ten trials make five hops of Adam each; Levenberg-Marquardt steps follow in each hop.
        """
        return cls(replicas=10, hops=5, adam_steps=1000, refine_steps=30)

    def replace(self, **changes: Any) -> "ReconstructConfig":
        """Return a copy with some settings changed.

        Args:
            **changes: settings by name, like ``hops=50``.

        Returns:
            The copy.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        unknown = set(changes) - set(self.__dataclass_fields__)
        if unknown:
            raise ValueError(
                f"expected settings among {sorted(self.__dataclass_fields__)}, "
                f"got {sorted(unknown)}"
            )
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data, which the constructor takes back."""
        return {**asdict(self), "moves": dict(self.moves)}

    def resolved(self, *, smooth: bool) -> "ReconstructConfig":
        """Return the settings with the default number of replicas in place of 0.

        Args:
            smooth: whether the fingerprint pools neither largest nor smallest values.

        Returns:
            A copy, or the settings themselves where the number is given.
        """
        return self if self.replicas else replace(self, replicas=16 if smooth else 64)

    @property
    def compiled(self) -> "ReconstructConfig":
        """A copy in which all settings that no compiled program depends on have their defaults.

        Configurations that differ only in those are equal then, and share compiled programs.
        """
        default = ReconstructConfig
        return replace(
            self,
            hops=default.hops,
            restart_after=default.restart_after,
            patience=default.patience,
            tolerance=default.tolerance,
            position_tolerance=default.position_tolerance,
            solutions=default.solutions,
            moves=default.moves,
            polish_steps=default.polish_steps,
        )

    @property
    def evaluations_per_hop(self) -> dict[str, int]:
        """Fingerprint evaluations in one hop of all replicas, by kind.

        ``values`` counts the fingerprint alone: one for each candidate, and two for the
        attribution. ``gradients`` counts loss and gradient, for Adam. ``jacobians`` counts
        fingerprint and Jacobian, for Levenberg-Marquardt. What the scales of the numbers take, 32
        values, is not counted.
        """
        return {
            "values": self.replicas * (self.candidates + 2),
            "gradients": self.replicas * self.adam_steps,
            "jacobians": self.replicas * (self.refine_steps + 1),
        }

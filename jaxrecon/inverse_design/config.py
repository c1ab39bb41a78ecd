"""GenerateConfig: how structures are made and which are kept; and what is wanted of them."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jaxrecon.search.config import ReconstructConfig

Wanted = float | tuple[float, float]
"""A value of the property, or from where to where: with infinities for at least and at most."""


@dataclass(frozen=True)
class GenerateConfig:
    """How structures are made and which of them are kept; energies in the property's unit.

    Attributes:
        sampled: whether there is a fingerprint to search for; else the property alone decides.
        guided: whether the search looks at the property; else at the fingerprint alone.
        trust: how many standard deviations of the prediction count as much as a miss.
        pull: the miss that a fingerprint counts as that is off by one standard deviation.
        agree: how far the surrogate may predict a sampled fingerprint from the property, and how
            unsure it may be, before another one is drawn; None for anything.
        tolerance: how far the prediction of a structure that is kept may be from what is wanted.
        shortest: least distance of two atoms by the sum of their covalent radii.
        search: settings of the search; its tolerance, where it is guided, is of what it minimises,
            in the property's unit.

    Raises:
        ValueError: if a value is out of range, or neither a fingerprint nor a property is sought.

    >>> strict = GenerateConfig(tolerance=0.05, shortest=0.8)
    >>> strict.replace(search=strict.search.replace(hops=50)).search.hops
    50
    """

    sampled: bool = True
    guided: bool = True
    trust: float = 1.0
    pull: float = 0.05
    agree: float | None = 0.1
    tolerance: float = 0.1
    shortest: float = 0.7
    search: ReconstructConfig = field(
        default_factory=lambda: ReconstructConfig(hops=20, tolerance=0.04)
    )

    def __post_init__(self) -> None:
        for name in ("trust", "pull", "shortest"):
            self._check(name, "a number >= 0", 0.0 <= getattr(self, name) < math.inf)
        self._check("tolerance", "a number > 0", self.tolerance > 0.0)
        self._check("agree", "a number > 0 or None", self.agree is None or self.agree > 0.0)
        if not (self.sampled or self.guided):
            raise ValueError("expected a fingerprint or a property to search for, got neither")

    def _check(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            raise ValueError(f"expected {name} to be {expected}, got {getattr(self, name)!r}")

    def replace(self, **changes: Any) -> "GenerateConfig":
        """A copy with some settings changed.

        Args:
            **changes: settings by name, like ``guided=False``.

        Raises:
            ValueError: if a name is not a setting.
        """
        unknown = set(changes) - set(self.__dataclass_fields__)
        if unknown:
            names = sorted(self.__dataclass_fields__)
            raise ValueError(f"expected settings among {names}, got {sorted(unknown)}")
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data."""
        return asdict(self)


def range_of(wanted: Wanted) -> tuple[float, float]:
    """From where to where.

    Raises:
        ValueError: if that is no range, or one that everything is in.

    >>> range_of(2.8), range_of((3.0, math.inf))
    ((2.8, 2.8), (3.0, inf))
    """
    low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    if not low <= high or (math.isinf(low) and math.isinf(high)):
        raise ValueError(f"expected a value or a range from low to high, got {wanted}")
    return float(low), float(high)


def told(wanted: Wanted) -> dict[str, float]:
    """What is wanted, for the ``info`` of a structure.

    >>> told(2.8), told((3.0, math.inf))
    ({'target': 2.8}, {'at_least': 3.0})
    """
    low, high = range_of(wanted)
    if low == high:
        return {"target": low}
    ends = {"at_least": low, "at_most": high}
    return {name: end for name, end in ends.items() if math.isfinite(end)}


def asked(info: dict[str, Any]) -> tuple[float, float] | None:
    """From where to where the property of a structure was wanted; None if it does not say.

    >>> asked({"at_most": 2.0}), asked({})
    ((-inf, 2.0), None)
    """
    if "target" in info:
        return float(info["target"]), float(info["target"])
    if "at_least" not in info and "at_most" not in info:
        return None
    return float(info.get("at_least", -math.inf)), float(info.get("at_most", math.inf))


def miss(value: float, wanted: Wanted) -> float:
    """How far a value is above (positive) or below what is wanted; 0 inside.

    >>> miss(3.0, 2.5), miss(2.0, (2.5, 3.0)), miss(2.7, (2.5, 3.0))
    (0.5, -0.5, 0.0)
    """
    low, high = range_of(wanted)
    return max(value - high, 0.0) - max(low - value, 0.0)

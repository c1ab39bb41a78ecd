"""GenerateConfig: settings of the generation of structures; and wanted values of a property."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jaxrecon.search.config import ReconstructConfig

Wanted = float | tuple[float, float]
"""A value of the property, or the low and high end of a range, one of which may be infinite."""


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of the generation of structures. Energies are in the unit of the property.

    Attributes:
        sampled: whether the search has a drawn fingerprint as its target; without one, the property
            alone guides it.
        guided: whether the search is guided by the property; otherwise it looks for the drawn
            fingerprint alone.
        trust: weight of the uncertainty: a predicted standard deviation costs as much as missing
            the property by ``trust`` times its size.
        pull: weight of the fingerprint: one standard deviation off in every number costs as much as
            missing the property by this much.
        agree: largest difference between the surrogate's prediction for a drawn fingerprint and the
            wanted value, and largest predicted deviation, before another one is drawn; None accepts
            every fingerprint.
        tolerance: largest difference between the prediction for a structure that is accepted and
            the wanted value.
        shortest: smallest distance between two atoms of a structure that is accepted, in units of
            the sum of their covalent radii.
        search: settings of the search. In a guided search, its tolerance is that of the guidance,
            in the unit of the property.

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
        default_factory=lambda: ReconstructConfig(hops=20, patience=5, tolerance=0.04)
    )

    def __post_init__(self) -> None:
        for name in ("trust", "pull", "shortest"):
            self._check(name, "a number >= 0", 0.0 <= getattr(self, name) < math.inf)
        self._check("tolerance", "a number > 0", self.tolerance > 0.0)
        self._check("agree", "a number > 0 or None", self.agree is None or self.agree > 0.0)
        if not (self.sampled or self.guided):
            raise ValueError("expected a fingerprint or a property to search for, got neither")

    def _check(self, name: str, expected: str, holds: bool) -> None:
        """Raise ValueError unless a condition on a setting holds."""
        if not holds:
            raise ValueError(f"expected {name} to be {expected}, got {getattr(self, name)!r}")

    def replace(self, **changes: Any) -> "GenerateConfig":
        """Return a copy with some settings changed.

        Args:
            **changes: settings by name, like ``guided=False``.

        Returns:
            The new settings.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        unknown = set(changes) - set(self.__dataclass_fields__)
        if unknown:
            names = sorted(self.__dataclass_fields__)
            raise ValueError(f"expected settings among {names}, got {sorted(unknown)}")
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data for JSON."""
        return asdict(self)


def range_of(wanted: Wanted) -> tuple[float, float]:
    """Return the low and high end of the wanted values, which are equal for a single value.

    Args:
        wanted: a value or a range.

    Raises:
        ValueError: if the ends are not in order, or both are infinite.

    >>> range_of(2.8), range_of((3.0, math.inf))
    ((2.8, 2.8), (3.0, inf))
    """
    low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    if not low <= high or (math.isinf(low) and math.isinf(high)):
        raise ValueError(f"expected a value or a range from low to high, got {wanted}")
    return float(low), float(high)


def info_of(wanted: Wanted) -> dict[str, float]:
    """Return the entries that store the wanted values in the ``info`` of a structure.

    Args:
        wanted: a value or a range.

    >>> info_of(2.8), info_of((3.0, math.inf))
    ({'target': 2.8}, {'at_least': 3.0})
    """
    low, high = range_of(wanted)
    if low == high:
        return {"target": low}
    ends = {"at_least": low, "at_most": high}
    return {name: end for name, end in ends.items() if math.isfinite(end)}


def wanted_of(info: dict[str, Any]) -> tuple[float, float] | None:
    """Return the range that is stored in the ``info`` of a structure; None if there is none.

    Args:
        info: entries as from :func:`info_of`, and any others.

    >>> wanted_of({"at_most": 2.0}), wanted_of({})
    ((-inf, 2.0), None)
    """
    if "target" in info:
        return float(info["target"]), float(info["target"])
    if "at_least" not in info and "at_most" not in info:
        return None
    return float(info.get("at_least", -math.inf)), float(info.get("at_most", math.inf))


def miss(value: float, wanted: Wanted) -> float:
    """Return how far a value is above (positive) or below the wanted values; 0 among them.

    Args:
        value: a value of the property.
        wanted: a value or a range.

    >>> miss(3.0, 2.5), miss(2.0, (2.5, 3.0)), miss(2.7, (2.5, 3.0))
    (0.5, -0.5, 0.0)
    """
    low, high = range_of(wanted)
    return max(value - high, 0.0) - max(low - value, 0.0)

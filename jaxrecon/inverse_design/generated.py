"""Generated: the structures that a generation returns, with their predictions and a summary."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from ase import Atoms
from jaxtyping import Float
from scipy.spatial.distance import pdist

from jaxrecon.inverse_design.config import miss, wanted_of
from jaxrecon.runtime import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

MIN_RELATIVE_WIDTH = 1e-2
"""Numbers of a fingerprint with a smaller standard deviation than this count as constant.

In units of the root mean square of all standard deviations."""

COLUMNS = {
    "": "<",
    "structures": ">",
    "within": ">",
    "mean miss": ">",
    "unique": ">",
    "novel": ">",
    "deviation": ">",
    "rigidity": ">",
    "diversity": ">",
}
"""Columns of the printed table, with their alignment."""

MAX_FINGERPRINTS = 2000
"""Largest number of fingerprints for the diversity; of more, evenly spread ones are taken."""


@dataclass(frozen=True, eq=False, repr=False)
class Generated(Sequence[Atoms]):
    """Structures made by :func:`~jaxrecon.inverse_design.generation.generate`.

    ``info`` of a structure has ``target``, or ``at_least`` and ``at_most``; ``predicted`` and its
    standard ``deviation`` at the structure's own fingerprint (``predicted_2`` and so on for further
    properties); ``rigidity``, the smallest local prediction rigidity of its atoms, if the surrogate
    knows energies of atoms, whose numbers are then in the arrays ``local_energies``,
    ``local_deviations`` and ``local_rigidities``; ``residual``, the mean absolute difference from
    the drawn fingerprint, if there is one; ``shortest``, the smallest distance of two atoms in
    units of the sum of their covalent radii; ``duplicate``, whether an earlier structure is the
    same; ``known``, whether a training structure is the same, if these are available; and
    ``accepted``. The summary prints as a table, also in Jupyter.

    Attributes:
        structures: structures in the order of their samples, with positions in Angstrom.
        fingerprints: fingerprints of these structures, one row each; NaN where none was found.
        widths: standard deviations of the training fingerprints, by :func:`widths_of`.
        metadata: settings, seconds and versions, as plain data for JSON.
    """

    structures: list[Atoms]
    fingerprints: Float[np.ndarray, "n p"]
    widths: Float[np.ndarray, " p"]
    metadata: dict[str, Any]

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        return self.structures[index]

    def __len__(self) -> int:
        return len(self.structures)

    def screened(self) -> "Generated":
        """Select the accepted structures."""
        rows = [row for row, atoms in enumerate(self) if atoms.info["accepted"]]
        structures = [self.structures[row] for row in rows]
        return replace(self, structures=structures, fingerprints=self.fingerprints[rows])

    @property
    def summary(self) -> dict[str, Any]:
        """Summary of all structures as plain data; a number that is unknown is None.

        Fractions ``within`` the tolerance of the wanted value by the prediction, ``unique`` and
        ``novel`` (no training structure is the same); ``mean_miss``, the mean distance of the
        predictions from the wanted value; ``deviation``, the mean standard deviation of the
        predictions; ``rigidity``, the median of the smallest rigidities; and ``diversity``.
        """
        infos = [atoms.info for atoms in self]
        misses = [abs(miss(info["predicted"], wanted_of(info) or (0.0, 0.0))) for info in infos]
        finite = [value for value in misses if math.isfinite(value)]
        tolerance = self.metadata["config"]["tolerance"]

        def fraction(flags: list[bool]) -> float | None:
            return sum(flags) / len(flags) if flags else None

        def middle(average: Callable[[list[float]], Any], name: str) -> float | None:
            known = [info[name] for info in infos if math.isfinite(info.get(name, math.nan))]
            return float(average(known)) if known else None

        return {
            "structures": len(self),
            "within": fraction([value <= tolerance for value in misses]),
            "mean_miss": float(np.mean(finite)) if finite else None,
            "unique": fraction([not info["duplicate"] for info in infos]),
            "novel": fraction([not info["known"] for info in infos if "known" in info]),
            "deviation": middle(np.mean, "deviation"),
            "rigidity": middle(np.median, "rigidity"),
            "diversity": diversity(self.fingerprints, self.widths),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the structures, as plain data for JSON."""
        return {"raw": self.summary, "screened": self.screened().summary, **self.metadata}

    def to_dataframe(self) -> "DataFrame":
        """Return a table with the formula and ``info`` of each structure."""
        from pandas import DataFrame

        return DataFrame(
            [{"formula": atoms.get_chemical_formula(), **atoms.info} for atoms in self]
        )

    def plot(self) -> "Figure":
        """Draw the distribution of predicted energies, for all structures and the screened ones.

        Returns:
            The figure. Jupyter shows it; ``savefig("made.pdf")`` or ``"made.svg"`` writes it as
            vectors.

        Raises:
            ValueError: if no prediction is finite.
        """
        from jaxrecon.plotting.design import PredictionHistogram, prediction_histogram

        return prediction_histogram(
            PredictionHistogram(
                predicted=np.array([atoms.info["predicted"] for atoms in self], float),
                accepted=np.array([bool(atoms.info["accepted"]) for atoms in self], bool),
                tolerance=self.metadata["config"]["tolerance"],
                wanted=wanted_of(self[0].info) if len(self) else None,
            )
        )

    def __str__(self) -> str:
        return "\n".join(filter(None, (tables.text(COLUMNS, self._rows), self._doubt)))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return tables.html(
            COLUMNS, self._rows, "; ".join(filter(None, (f"{len(self)} structures", self._doubt)))
        )

    @property
    def _doubt(self) -> str:
        """What stands below the table if predictions are less sure than what counts as within."""
        stated = [atoms.info.get("deviation", math.nan) for atoms in self.screened()]
        known = [value for value in stated if math.isfinite(value)]
        tolerance = self.metadata["config"]["tolerance"]
        if not known or np.mean(known) <= tolerance:
            return ""
        return (
            f"Predictions of the accepted ones are uncertain by {np.mean(known):.2g} on average, "
            f"more than the {tolerance:g} that counts as within: judge them, or learn from more "
            "structures."
        )

    @property
    def _rows(self) -> list[list[str]]:
        """Rows of the printed table: all structures, and the accepted ones."""
        formats = {
            "within": ".0%",
            "mean_miss": ".3f",
            "unique": ".0%",
            "novel": ".0%",
            "deviation": ".3f",
            "rigidity": ".3g",
            "diversity": ".2f",
        }
        rows = []
        for name, summary in (("raw", self.summary), ("screened", self.screened().summary)):
            cells = [
                "-" if summary[key] is None else format(summary[key], style)
                for key, style in formats.items()
            ]
            rows.append([name, str(summary["structures"]), *cells])
        return rows


def widths_of(fingerprints: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " p"]:
    """Compute the standard deviation of each number of the fingerprints.

    Args:
        fingerprints: one row per structure, without a unit.

    Returns:
        The standard deviations; 0 for numbers that are nearly constant, because any deviation in
        units of such a small width is noise.
    """
    deviations = fingerprints.std(axis=0)
    smallest = MIN_RELATIVE_WIDTH * np.sqrt(np.mean(deviations**2))
    return np.where(deviations > smallest, deviations, 0.0)


def diversity(
    fingerprints: Float[np.ndarray, "n p"], widths: Float[np.ndarray, " p"]
) -> float | None:
    """Compute the mean distance of two fingerprints, in units of typical widths.

    Args:
        fingerprints: one row per structure; rows that are not finite are left out.
        widths: standard deviations by :func:`widths_of`; numbers of width 0 are left out.

    Returns:
        Root mean square difference over the numbers, averaged over all pairs; None for fewer than
        two fingerprints.
    """
    finite = fingerprints[np.isfinite(fingerprints).all(axis=1)]
    if len(finite) < 2:
        return None
    count = min(len(finite), MAX_FINGERPRINTS)
    selected = finite[np.linspace(0, len(finite) - 1, count).astype(int)]
    varies = widths > 0.0
    distances = pdist(selected[:, varies] / widths[varies])
    return float(np.mean(distances) / np.sqrt(max(varies.sum(), 1)))

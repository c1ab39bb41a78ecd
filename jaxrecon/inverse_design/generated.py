"""What a generation returns: structures with what is known of each, and what they are together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from ase import Atoms
from jaxtyping import Float
from scipy.spatial.distance import pdist

from jaxrecon.inverse_design.config import asked, miss
from jaxrecon.runtime import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

DEAD = 1e-2
"""Of the root mean square of all standard deviations: one below it says that a number is the same
in all structures."""

COLUMNS = {
    "": "<",
    "structures": ">",
    "within": ">",
    "mean miss": ">",
    "unique": ">",
    "novel": ">",
    "diversity": ">",
}
"""Of the table that they print as."""

ROWS = 2000
"""Fingerprints of which the mean distance is taken: of more, those that are spread evenly."""


@dataclass(frozen=True, eq=False, repr=False)
class Generated(Sequence[Atoms]):
    """Structures that :func:`~jaxrecon.inverse_design.generation.generate` made, with what is known
    in ``info``.

    ``target``, or ``at_least`` and ``at_most``; ``predicted`` and its standard ``deviation``, at
    the structure's own fingerprint (``predicted_2`` and so on of further properties); ``residual``,
    the mean absolute difference from the fingerprint that was drawn, if one was; ``shortest``
    distance of two atoms by the sum of their covalent radii; ``duplicate`` of an earlier one;
    ``known`` from the training set, if that has structures; and whether it is ``kept``. What they
    are together prints as a table, which Jupyter shows as one.

    Attributes:
        structures: in the order in which they were drawn; positions in Angstrom.
        fingerprints: of these structures, one row each; NaN for one that was not found.
        widths: of the training set, by :func:`widths_of`.
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
        """Those that are kept."""
        rows = [row for row, atoms in enumerate(self) if atoms.info["kept"]]
        structures = [self.structures[row] for row in rows]
        return replace(self, structures=structures, fingerprints=self.fingerprints[rows])

    @property
    def numbers(self) -> dict[str, Any]:
        """What they are together, as plain data; None where there is nothing to tell it by.

        Parts ``within`` the tolerance of what is wanted by the prediction, ``unique``, and
        ``novel``: no training structure is the same; the mean of the distances of predictions
        from what is wanted, ``mean_miss``; and the ``diversity``.
        """
        info = [atoms.info for atoms in self]
        misses = [abs(miss(each["predicted"], asked(each) or (0.0, 0.0))) for each in info]
        finite = [each for each in misses if math.isfinite(each)]
        tolerance = self.metadata["config"]["tolerance"]

        def part(flags: list[bool]) -> float | None:
            return sum(flags) / len(flags) if flags else None

        return {
            "structures": len(self),
            "within": part([each <= tolerance for each in misses]),
            "mean_miss": float(np.mean(finite)) if finite else None,
            "unique": part([not each["duplicate"] for each in info]),
            "novel": part([not each["known"] for each in info if "known" in each]),
            "diversity": diversity(self.fingerprints, self.widths),
        }

    def to_dict(self) -> dict[str, Any]:
        """All but the structures, as plain data for JSON."""
        both = {"raw": self.numbers, "screened": self.screened().numbers}
        return {**both, **self.metadata}

    def to_dataframe(self) -> "DataFrame":
        """A row a structure: its formula and what is known of it."""
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
                selected=np.array([bool(atoms.info["kept"]) for atoms in self], bool),
                tolerance=self.metadata["config"]["tolerance"],
                wanted=asked(self[0].info) if len(self) else None,
            )
        )

    def __str__(self) -> str:
        return tables.text(COLUMNS, self._rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return tables.html(COLUMNS, self._rows, f"{len(self)} structures")

    @property
    def _rows(self) -> list[list[str]]:
        rows = []
        for name, numbers in (("raw", self.numbers), ("screened", self.screened().numbers)):
            words = [
                "-" if numbers[key] is None else format(numbers[key], how)
                for key, how in (
                    ("within", ".0%"),
                    ("mean_miss", ".3f"),
                    ("unique", ".0%"),
                    ("novel", ".0%"),
                    ("diversity", ".2f"),
                )
            ]
            rows.append([name, str(numbers["structures"]), *words])
        return rows


def widths_of(fingerprints: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " p"]:
    """Standard deviations, and 0 of numbers that hardly differ: what is far off in these is noise.

    Args:
        fingerprints: one row a structure.
    """
    deviations = fingerprints.std(axis=0)
    return np.where(deviations > DEAD * np.sqrt(np.mean(deviations**2)), deviations, 0.0)


def diversity(
    fingerprints: Float[np.ndarray, "n p"], widths: Float[np.ndarray, " p"]
) -> float | None:
    """Mean distance of two fingerprints: root mean square over the numbers, in widths of each.

    Args:
        fingerprints: one row a structure; those that are not finite do not count.
        widths: by :func:`widths_of`; numbers that have none do not count.
    """
    finite = fingerprints[np.isfinite(fingerprints).all(axis=1)]
    if len(finite) < 2:
        return None
    some = finite[np.linspace(0, len(finite) - 1, min(len(finite), ROWS)).astype(int)]
    live = widths > 0.0
    return float(np.mean(pdist(some[:, live] / widths[live])) / np.sqrt(max(live.sum(), 1)))

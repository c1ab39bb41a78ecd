"""The results of a search: one for each target, and the run that they belong to."""

import enum
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from ase import Atoms

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.runtime import tables
from jaxrecon.runtime.versions import versions
from jaxrecon.search.certificate import Certificate
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.solutions import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


COLUMNS = {
    "target": ">",
    "formula": "<",
    "residual": ">",
    "error (A)": ">",
    "code": "<",
    "hops": ">",
    "evaluations": ">",
    "s": ">",
}
"""Columns of the table that a run prints as, with their alignment."""


class ResultCode(enum.IntEnum):
    """How the search for one target ended.

    >>> ResultCode.of(3e-7, tolerance=1e-6).name, ResultCode.of(1e-2, tolerance=1e-6).name
    ('CONVERGED', 'STALLED')
    """

    CONVERGED = 0
    """Residual and position error are at most their tolerances."""
    STALLED = 1
    """All hops were used up. The structure is the best one found, but it misses the target."""
    NON_FINITE = 2
    """No replica ever had a finite residual."""
    OVERFLOW = 3
    """In every replica, an atom had more neighbours than the arrays can hold."""
    UNCERTAIN = 4
    """The residual is at most the tolerance: the structure has the wanted fingerprint. But that
    fingerprint leaves a larger position error than wanted."""

    @property
    def solved(self) -> bool:
        """Whether the structure has the wanted fingerprint."""
        return self in (ResultCode.CONVERGED, ResultCode.UNCERTAIN)

    @property
    def advice(self) -> str:
        """What to do next, in one sentence."""
        return ADVICE[self]

    @classmethod
    def of(
        cls, residual: float, tolerance: float, *, overflow: bool = False, certain: bool = True
    ) -> "ResultCode":
        """Find the code that belongs to a final residual.

        Args:
            residual: mean absolute residual, without a unit.
            tolerance: residual at which a structure counts as a solution.
            overflow: whether there were too many neighbours, if the residual is not finite.
            certain: whether the position error is at most its tolerance too.

        Returns:
            The code.
        """
        if not math.isfinite(residual):
            return cls.OVERFLOW if overflow else cls.NON_FINITE
        if residual > tolerance:
            return cls.STALLED
        return cls.CONVERGED if certain else cls.UNCERTAIN


ADVICE = {
    ResultCode.CONVERGED: "The structure has the target fingerprint; search for several solutions "
    "to see whether other structures have it too.",
    ResultCode.UNCERTAIN: "The numbers agree, but leave atoms more room than wanted: compare the "
    "position errors with what you need, or make the fingerprint by a preset that holds the "
    "atoms more firmly, as jaxrecon certify says.",
    ResultCode.STALLED: "Check that composition, cell (none for a free structure) and fingerprint "
    "settings are those of the target, and give the noise of numbers that are rounded or measured; "
    "then try another seed, more hops or more replicas.",
    ResultCode.NON_FINITE: "Check target, cell and known positions: no structure of the search had "
    "a finite residual.",
    ResultCode.OVERFLOW: "Check the cell, which is flat or holds too many atoms for its volume, or "
    "choose a smaller cutoff.",
}
"""Advice for each result code, in one sentence."""


@dataclass(frozen=True)
class Result:
    """The result for one target, from :func:`~jaxrecon.search.reconstruct.reconstruct`.

    Attributes:
        atoms: the best structure, positions in Angstrom.
        residual: mean absolute residual of its fingerprint, computed in float64, without a unit; in
            a guided search, its objective.
        code: how the search ended.
        hops: number of hops done.
        evaluations: numbers of fingerprint evaluations by kind, as in
            :attr:`ReconstructConfig.evaluations_per_hop`. Polishing in float64 is not counted.
        seconds: wall time from start to end of the search for this target.
        others: further solutions, where several were wanted.
        certificate: how firmly the target holds the structure. None far from the target, in a
            guided search, and in runs of earlier versions.
        tolerance: residual up to which the target counts as hit: that of the settings, and what
            noise leaves. None in runs of earlier versions.
    """

    atoms: Atoms
    residual: float
    code: ResultCode
    hops: int
    evaluations: dict[str, int]
    seconds: float
    others: tuple[Solution, ...] = ()
    certificate: Certificate | None = None
    tolerance: float | None = None

    @property
    def position_error(self) -> float:
        """Largest displacement of an atom in Angstrom that the residual allows.

        Infinite where the fingerprint does not determine the structure; NaN without a certificate.
        """
        return math.nan if self.certificate is None else self.certificate.position_error

    def continued(self, other: "Result") -> "Result":
        """Combine two searches for one target: the better structure, and the work of both.

        Args:
            other: the result of the second search.

        Returns:
            The combined result.
        """
        best = self if self.residual <= other.residual else other
        evaluations = {kind: n + other.evaluations[kind] for kind, n in self.evaluations.items()}
        hops, seconds = self.hops + other.hops, self.seconds + other.seconds
        return replace(best, hops=hops, evaluations=evaluations, seconds=seconds)

    def to_dict(self) -> dict[str, Any]:
        """Everything except the structures, as plain data."""
        return {
            "formula": self.atoms.get_chemical_formula(),
            "residual": self.residual,
            "tolerance": self.tolerance,
            "code": self.code.name.lower(),
            "hops": self.hops,
            "evaluations": sum(self.evaluations.values()),
            "evaluations_by_kind": self.evaluations,
            "seconds": self.seconds,
            **_certified(self.certificate),
            "residuals_of_others": [other.residual for other in self.others],
        }


@dataclass(frozen=True, repr=False)
class Reconstruction(Sequence[Result]):
    """The results of a run in the order of the targets, with the settings to repeat it.

    It is a sequence of results, and prints as a table.
    :func:`~jaxrecon.search.reconstruct.reconstruct` has an example.

    Attributes:
        results: one result for each target.
        fingerprints: the fingerprint settings of each target.
        config: settings of the search.
        seed: seed of the random numbers.
        seconds: wall time of the run, compilation included.
    """

    results: list[Result]
    fingerprints: list[Fingerprint]
    config: ReconstructConfig
    seed: int
    seconds: float

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> list[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | list[Result]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    @property
    def converged(self) -> int:
        """Number of targets whose residual and position error reached their tolerances."""
        return sum(result.code is ResultCode.CONVERGED for result in self.results)

    @property
    def uncertain(self) -> int:
        """Number of targets whose residual reached the tolerance, but not the position error."""
        return sum(result.code is ResultCode.UNCERTAIN for result in self.results)

    @property
    def tolerances(self) -> list[float]:
        """The residuals up to which the targets count as hit."""
        return [result.tolerance or self.config.tolerance for result in self.results]

    def to_atoms(self, *, others: bool = False) -> list[Atoms]:
        """The best structure of each target as ASE atoms.

        Args:
            others: whether further solutions of a target follow its best one.

        Returns:
            Copies of the structures, with ``residual`` and ``result_code`` in ``info``, and where
            there is a certificate its ``position_error`` and ``singular_value`` in units of
            Angstrom and ``rank_deficiency``; where the target has noise the atoms have an
            ``error_bar`` each, a standard deviation in Angstrom; with ``others`` also the numbers
            of the ``target`` and the ``solution``, from 0.
        """
        structures = []
        for target, result in enumerate(self.results):
            best = Solution(result.atoms, result.residual, result.certificate)
            for number, solution in enumerate([best, *(result.others if others else ())]):
                atoms = solution.atoms.copy()
                atoms.info["residual"] = solution.residual
                code = self._code(solution, result) if number else result.code
                atoms.info["result_code"] = code.name.lower()
                if solution.certificate is not None:
                    atoms.info |= _certified(solution.certificate)
                    if solution.certificate.error_bars:
                        atoms.set_array("error_bar", np.array(solution.certificate.error_bars))
                if others:
                    atoms.info.update(target=target, solution=number)
                structures.append(atoms)
        return structures

    def _code(self, other: Solution, result: Result) -> ResultCode:
        """The code of a further solution: it may miss the target that the best one hits."""
        certificate, limit = other.certificate, self.config.position_tolerance
        certain = True
        if certificate is not None:
            # Where the target has noise, any finite position error is stated and accepted.
            limit = sys.float_info.max if certificate.error_bars else limit
            certain = certificate.position_error <= limit
        tolerance = result.tolerance or self.config.tolerance
        return ResultCode.of(other.residual, tolerance, certain=certain)

    def to_dict(self) -> dict[str, Any]:
        """The whole run except the structures, as plain data for JSON."""
        evaluations = sum(sum(result.evaluations.values()) for result in self.results)
        return {
            "targets": [result.to_dict() for result in self.results],
            "converged": self.converged,
            "uncertain": self.uncertain,
            "advice": self._advice,
            "evaluations": evaluations,
            "seconds": self.seconds,
            "evaluations_per_second": evaluations / self.seconds,
            "seed": self.seed,
            "config": self.config.to_dict(),
            "fingerprints": [settings.to_dict() for settings in dict.fromkeys(self.fingerprints)],
            "versions": versions(),
        }

    def to_dataframe(self) -> "DataFrame":
        """The results as a data frame with one row per target.

        Returns:
            Formula, residual, its tolerance, code, hops, evaluations in total and by kind, seconds,
            position error in Angstrom, rank deficiency, singular value in 1/Angstrom, and the
            number of ``solutions``; the index is the number of the target.
        """
        from pandas import DataFrame, Index

        rows = []
        for result in self:
            row = result.to_dict()
            kinds, others = row.pop("evaluations_by_kind"), row.pop("residuals_of_others")
            rows.append({**row, **kinds, "solutions": 1 + len(others)})
        return DataFrame(rows, Index(range(len(self)), name="target"))

    def plot(self) -> "Figure":
        """Draw residual and evaluations of each target, and the fraction of targets solved.

        Returns:
            The figure. Jupyter shows it; ``savefig("run.pdf")`` writes it as vector graphics.

        Raises:
            ValueError: if there is no target.
        """
        from jaxrecon.plotting.runs import RunSummary, run_summary

        return run_summary(
            RunSummary(
                residuals=[result.residual for result in self],
                evaluations=[sum(result.evaluations.values()) for result in self],
                codes=[result.code.name.lower() for result in self],
                tolerances=self.tolerances,
            )
        )

    @property
    def _total(self) -> str:
        """The line below the table."""
        others = f", {self.uncertain} uncertain," if self.uncertain else ""
        return f"{self.converged} of {len(self)} converged{others} in {self.seconds:.1f} s"

    def __str__(self) -> str:
        return "\n".join([tables.text(COLUMNS, self._rows), self._total, *self._advice])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return tables.html(COLUMNS, self._rows, ". ".join([self._total, *self._advice]))

    @property
    def _advice(self) -> list[str]:
        """One line for each result code other than converged that occurs."""
        missed = {result.code for result in self} - {ResultCode.CONVERGED}
        return [f"{code.name.lower()}: {code.advice}" for code in sorted(missed)]

    @property
    def _rows(self) -> list[list[str]]:
        """The cells of the table as text, one row per target."""
        return [
            [
                str(number),
                result.atoms.get_chemical_formula(),
                f"{result.residual:.1e}",
                "-" if result.certificate is None else f"{result.position_error:.1e}",
                result.code.name.lower(),
                str(result.hops),
                f"{sum(result.evaluations.values()):,}",
                f"{result.seconds:.1f}",
            ]
            for number, result in enumerate(self)
        ]


CERTIFIED = ("position_error", "rank_deficiency", "singular_value")
"""What of a certificate stands beside each structure."""


def _certified(certificate: Certificate | None) -> dict[str, float | int | None]:
    """The same as plain data; None without a certificate."""
    return {name: getattr(certificate, name, None) for name in CERTIFIED}

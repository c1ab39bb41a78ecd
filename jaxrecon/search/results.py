"""What a reconstruction returns: a result a target, and the run that they come from."""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

from ase import Atoms

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.runtime import tables
from jaxrecon.runtime.versions import versions
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.solutions import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


COLUMNS = {
    "target": ">",
    "formula": "<",
    "residual": ">",
    "code": "<",
    "hops": ">",
    "evaluations": ">",
    "s": ">",
}
"""Of the table that a run prints as."""


class ResultCode(enum.IntEnum):
    """How the search for one target ended.

    >>> ResultCode.of(3e-7, tolerance=1e-6).name, ResultCode.of(1e-2, tolerance=1e-6).name
    ('CONVERGED', 'STALLED')
    """

    CONVERGED = 0
    """The residual is at most the tolerance: the structure has the wanted fingerprint."""
    STALLED = 1
    """All hops were used up: the structure is the best one met, and it misses the target."""
    NON_FINITE = 2
    """No replica ever had a finite residual."""
    OVERFLOW = 3
    """In every replica an atom had more neighbours than the arrays can hold."""

    @property
    def advice(self) -> str:
        """What to do next, in one sentence."""
        return ADVICE[self]

    @classmethod
    def of(cls, residual: float, tolerance: float, *, overflow: bool = False) -> "ResultCode":
        """The code that belongs to a final residual.

        Args:
            residual: mean absolute residual, without a unit.
            tolerance: what it was to reach.
            overflow: why it is not finite, if it is not.
        """
        if not math.isfinite(residual):
            return cls.OVERFLOW if overflow else cls.NON_FINITE
        return cls.CONVERGED if residual <= tolerance else cls.STALLED


ADVICE = {
    ResultCode.CONVERGED: "The fingerprint is reached to the tolerance; ask for several solutions "
    "to see whether other structures share it.",
    ResultCode.STALLED: "Try more hops, another seed or more replicas, and check that composition, "
    "cell and fingerprint settings are those of the target.",
    ResultCode.NON_FINITE: "Check target, cell and known positions: no start had a finite "
    "fingerprint.",
    ResultCode.OVERFLOW: "Check the cell, which is too dense for its composition, or take a "
    "smaller cutoff.",
}
"""What to do after each ending."""


@dataclass(frozen=True)
class Result:
    """One target's outcome, as :func:`~jaxrecon.search.reconstruct.reconstruct` returns it.

    Attributes:
        atoms: the structure, positions in Angstrom.
        residual: mean absolute residual of its fingerprint, computed in float64, without a unit.
        code: how the search ended.
        hops: hops that were done.
        evaluations: fingerprint evaluations by kind: values, gradients, jacobians. The float64
            polish of each new best structure is not counted: 4 to 8 % more steps as a rule.
        seconds: wall time from its start to its end.
        others: more structures with their residuals, where several solutions were wanted.
    """

    atoms: Atoms
    residual: float
    code: ResultCode
    hops: int
    evaluations: dict[str, int]
    seconds: float
    others: tuple[Solution, ...] = ()

    def continued(self, other: "Result") -> "Result":
        """The better of two searches for one target, with the work of both.

        Args:
            other: the second one.
        """
        best = self if self.residual <= other.residual else other
        evaluations = {kind: n + other.evaluations[kind] for kind, n in self.evaluations.items()}
        hops, seconds = self.hops + other.hops, self.seconds + other.seconds
        return replace(best, hops=hops, evaluations=evaluations, seconds=seconds)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the structure, as plain data."""
        return {
            "formula": self.atoms.get_chemical_formula(),
            "residual": self.residual,
            "code": self.code.name.lower(),
            "hops": self.hops,
            "evaluations": sum(self.evaluations.values()),
            "evaluations_by_kind": self.evaluations,
            "seconds": self.seconds,
            "residuals_of_others": [other.residual for other in self.others],
        }


@dataclass(frozen=True, repr=False)
class Reconstruction(Sequence[Result]):
    """The results of a run, in the order of the targets, with what is needed to repeat it.

    It prints as a table, which Jupyter shows as one;
    :func:`~jaxrecon.search.reconstruct.reconstruct` has an example.

    Attributes:
        results: one a target.
        fingerprints: what each target is a fingerprint with.
        config: settings of the search.
        seed: of the random numbers.
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
        """How many targets were hit to the tolerance."""
        return sum(result.code is ResultCode.CONVERGED for result in self.results)

    def to_atoms(self, *, others: bool = False) -> list[Atoms]:
        """The best structure of each target, with residual and result code in ``info``.

        Args:
            others: whether the other solutions of a target follow the best one; ``info`` has the
                position of the ``target`` and that of the ``solution`` then.
        """
        structures = []
        for target, result in enumerate(self.results):
            found = [Solution(result.atoms, result.residual), *(result.others if others else ())]
            for number, solution in enumerate(found):
                atoms = solution.atoms.copy()
                atoms.info["residual"] = solution.residual
                atoms.info["result_code"] = result.code.name.lower()
                if others:
                    atoms.info.update(target=target, solution=number)
                structures.append(atoms)
        return structures

    def to_dict(self) -> dict[str, Any]:
        """The whole run but the structures, as plain data for JSON."""
        evaluations = sum(sum(result.evaluations.values()) for result in self.results)
        return {
            "targets": [result.to_dict() for result in self.results],
            "converged": self.converged,
            "advice": self._advice,
            "evaluations": evaluations,
            "seconds": self.seconds,
            "evaluations_per_second": evaluations / self.seconds,
            "seed": self.seed,
            "config": self.config.to_dict(),
            "fingerprints": [each.to_dict() for each in dict.fromkeys(self.fingerprints)],
            "versions": versions(),
        }

    def to_dataframe(self) -> "DataFrame":
        """A row a target: formula, residual, code, hops, evaluations in all and by kind, seconds.

        ``solutions`` counts the structures that were found for it.
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
            The figure. Jupyter shows it; ``savefig("run.pdf")`` or ``"run.svg"`` writes it as
            vectors.

        Raises:
            ValueError: if there is no target.
        """
        from jaxrecon.plotting.runs import RunSummary, run_summary

        return run_summary(
            RunSummary(
                residuals=[result.residual for result in self],
                evaluations=[sum(result.evaluations.values()) for result in self],
                codes=[result.code.name.lower() for result in self],
                tolerance=self.config.tolerance,
            )
        )

    @property
    def _total(self) -> str:
        return f"{self.converged} of {len(self)} converged in {self.seconds:.1f} s"

    def __str__(self) -> str:
        return "\n".join([tables.text(COLUMNS, self._rows), self._total, *self._advice])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return tables.html(COLUMNS, self._rows, ". ".join([self._total, *self._advice]))

    @property
    def _advice(self) -> list[str]:
        """One line for each way in which targets were missed."""
        missed = {result.code for result in self} - {ResultCode.CONVERGED}
        return [f"{code.name.lower()}: {code.advice}" for code in sorted(missed)]

    @property
    def _rows(self) -> list[list[str]]:
        return [
            [
                str(number),
                result.atoms.get_chemical_formula(),
                f"{result.residual:.1e}",
                result.code.name.lower(),
                str(result.hops),
                f"{sum(result.evaluations.values()):,}",
                f"{result.seconds:.1f}",
            ]
            for number, result in enumerate(self)
        ]

"""What the recovery benchmark says of its trials: counts, quantiles, tables."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from ase import Atoms
from recovery_sets import Target

from jaxrecon.plotting.runs import Curve, cumulative
from jaxrecon.search.results import Result
from jaxrecon.structures.compare import Match, corrected_rms, matched_by_any

CERTIFIED = 1e-6
"""Mean absolute residual, in float64, that hits the target exactly."""


class Trial(NamedTuple):
    """A target, what was found, and what that took.

    Attributes:
        evaluations: in loss-and-gradient evaluations.
        seconds: of the search, without those to compile.
        match: of what was found with the truth; None where the truth is not known.
    """

    target: Target
    result: Result
    evaluations: float
    seconds: float
    match: Match | None

    @property
    def certified(self) -> bool:
        """Whether the fingerprint is hit."""
        return self.result.residual <= CERTIFIED

    @property
    def matched(self) -> bool:
        """Whether the structure is the one behind the target, tightly."""
        return self.match is not None and self.match.tight

    @property
    def loose(self) -> bool:
        """Whether it is, loosely."""
        return self.match is not None and self.match.loose

    def to_dict(self) -> dict[str, Any]:
        """All but the structure, as plain data."""
        return {
            "row": self.target.row,
            "name": self.target.name,
            "atoms": len(self.target.symbols),
            "numbers": len(self.target.values),
            **self.result.to_dict(),
            "certified": self.certified,
            "equivalent_evaluations": self.evaluations,
            "seconds_without_compiling": self.seconds,
            "match": None if self.match is None else self.match._asdict(),
        }


GOALS: dict[str, Callable[[Trial], bool]] = {
    "certified": lambda trial: trial.certified,
    "matched": lambda trial: trial.matched,
    "matched loosely": lambda trial: trial.loose,
}


def goals_of(trials: Sequence[Trial]) -> dict[str, Callable[[Trial], bool]]:
    """Those to tell apart: without the truth the certificate alone, loose matches of crystals."""
    known = any(trial.match is not None for trial in trials)
    crystals = known and any(trial.target.cell is not None for trial in trials)
    return dict(islice(GOALS.items(), 1 + known + crystals))


def quantile(spent: Sequence[float], targets: int, part: float) -> float | None:
    """What it takes until this part of all targets is solved; None if it never is.

    Args:
        spent: on each solution.
        targets: how many there were, solved or not.
        part: like 0.5.
    """
    needed = math.ceil(part * targets - 1e-9)
    return sorted(spent)[needed - 1] if 0 < needed <= len(spent) else None


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Counts and quantiles of trials; the quantiles are of all targets, solved or not."""
    solved = [trial for trial in trials if trial.certified]
    numbers = [len(trial.target.values) for trial in trials]
    count = len(trials)
    figures: dict[str, Any] = {
        "targets": count,
        **{name: sum(map(goal, trials)) for name, goal in goals_of(trials).items()},
        "numbers": [min(numbers), statistics.median(numbers), max(numbers)],
        "seconds_in_all": sum(trial.seconds for trial in trials),
        "seconds_compiling": sum(trial.result.seconds - trial.seconds for trial in trials),
        "evaluations_in_all": sum(trial.evaluations for trial in trials),
        **crystal_figures(trials),
    }
    for name, spent in {
        "evaluations": [trial.evaluations for trial in solved],
        "seconds": [trial.seconds for trial in solved],
    }.items():
        figures[name] = {
            "median": quantile(spent, count, 0.5),
            "90 %": quantile(spent, count, 0.9),
            "longest": max(spent, default=None),
        }
    return figures


def crystal_figures(trials: Sequence[Trial]) -> dict[str, float]:
    """Of crystals the median RMSD in Angstrom, and METRe and cRMSE (arXiv 2509.12178).

    METRe is the fraction of true structures that any structure found for their composition matches
    loosely, cRMSE the mean rms in (V/N)^(1/3) in which a miss counts 0.5.
    """
    known = [trial for trial in trials if trial.match is not None and trial.target.cell is not None]
    matches = [trial.match for trial in known if trial.match is not None]
    corrected = corrected_rms(matches)
    if corrected is None:
        return {}
    found: dict[str, list[Atoms]] = {}
    for trial in known:
        found.setdefault(trial.result.atoms.get_chemical_formula(), []).append(trial.result.atoms)
    reached = 0
    for trial in known:
        truth = trial.target.truth
        others = found[trial.result.atoms.get_chemical_formula()]
        reached += trial.loose or (truth is not None and any(matched_by_any([truth], others)))
    finite = [match.rmsd for match in matches if math.isfinite(match.rmsd)]
    return {
        "median_rmsd": statistics.median(finite) if finite else math.inf,
        "METRe": reached / len(known),
        "cRMSE": corrected,
    }


def by_atoms(trials: Sequence[Trial]) -> dict[int, dict[str, int]]:
    """How many are solved, for each number of atoms."""
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(len(trial.target.symbols), []).append(trial)
    return {
        atoms: {
            "targets": len(some),
            **{name: sum(map(goal, some)) for name, goal in goals_of(trials).items()},
        }
        for atoms, some in sorted(groups.items())
    }


def curves(trials: Sequence[Trial], name: str = "") -> list[Curve]:
    """Evaluations and seconds to every solution, for the certificate and for the structure."""
    lines = []
    for goal, reached in goals_of(trials).items():
        some = [trial for trial in trials if reached(trial)]
        evaluations = sorted(trial.evaluations for trial in some)
        seconds = sorted(trial.seconds for trial in some)
        lines.append(Curve(f"{name} {goal}".strip(), len(trials), evaluations, seconds))
    return lines


def curves_as_data(trials: Sequence[Trial]) -> dict[str, Any]:
    """By goal: what has been spent when a curve rises, and the part that is solved then."""
    data: dict[str, Any] = {}
    for curve in curves(trials):
        data[curve.name] = {
            name: dict(zip(("spent", "solved"), cumulative(spent, curve.targets), strict=True))
            for name, spent in (("evaluations", curve.evaluations), ("seconds", curve.seconds))
        }
    return data


def to_dict(trials: Sequence[Trial]) -> dict[str, Any]:
    """All that is known of some trials, as plain data."""
    return {
        "summary": summary(trials),
        "by_atoms": {str(atoms): counts for atoms, counts in by_atoms(trials).items()},
        "curves": curves_as_data(trials),
        "targets": [trial.to_dict() for trial in trials],
    }


def text(trials: Sequence[Trial]) -> str:
    """The summary, the table by atoms, and the targets that were not found."""
    figures = summary(trials)
    names = list(goals_of(trials))
    shortest, middle, longest = figures["numbers"]
    lines = [f"{figures['targets']} targets of {shortest}, {middle:g}, {longest} numbers"]
    lines[0] += " (least, median, most): "
    lines[0] += ", ".join(f"{name} {_part(figures[name], len(trials))}" for name in names)
    for name in ("evaluations", "seconds"):
        spent = figures[name]
        each = ", ".join(f"{which} {_number(value)}" for which, value in spent.items())
        lines.append(f"{name} to a certified solution: {each}")
    if "METRe" in figures:
        lines.append(
            f"METRe {figures['METRe']:.3f}, cRMSE {figures['cRMSE']:.4f} (V/N)^(1/3), median RMSD "
            f"{figures['median_rmsd']:.1e} A; tight matches scale nothing, loose ones the volume"
        )
    search, compiling = (_number(figures[f"seconds_{part}"]) for part in ("in_all", "compiling"))
    lines.append(f"in all {search} s of search, beside it {compiling} s to compile")
    lines += ["", f"{'atoms':>6}{'targets':>9}" + "".join(f"{name:>17}" for name in names)]
    for atoms, counts in by_atoms(trials).items():
        parts = "".join(f"{_part(counts[name], counts['targets']):>17}" for name in names)
        lines.append(f"{atoms:>6}{counts['targets']:>9}{parts}")
    goals = goals_of(trials).values()
    missed = [trial for trial in trials if not all(reached(trial) for reached in goals)]
    if missed:
        lines += ["", f"{'row':>5}  {'not found':<28} {'residual':>9} {'RMSD/A':>9} {'matcher':>8}"]
        lines += [_line(trial) for trial in missed]
    return "\n".join(lines)


def comparison(variants: Mapping[str, Sequence[Trial]]) -> str:
    """One line for each variant of the settings."""
    names = list(goals_of(next(iter(variants.values()))))
    width = max(map(len, variants))
    head = "".join(f"{name:>17}" for name in names)
    lines = [f"{'':<{width}}{head}{'evaluations':>14}{'90 %':>14}{'seconds':>9}{'in all':>9}"]
    for name, trials in variants.items():
        figures = summary(trials)
        parts = "".join(f"{_part(figures[goal], len(trials)):>17}" for goal in names)
        work, time = figures["evaluations"], figures["seconds"]
        lines.append(
            f"{name:<{width}}{parts}{_number(work['median']):>14}{_number(work['90 %']):>14}"
            f"{_number(time['median']):>9}{_number(figures['seconds_in_all']):>9}"
        )
    return "\n".join(lines)


def _line(trial: Trial) -> str:
    match = trial.match
    deviation = "-" if match is None or not math.isfinite(match.rmsd) else f"{match.rmsd:.1e}"
    rms = "-" if match is None or match.rms is None else f"{match.rms:.3f}"
    target = trial.target
    return (
        f"{target.row:>5}  {target.name:<28} {trial.result.residual:>9.1e} {deviation:>9} {rms:>8}"
    )


def _part(count: int, of: int) -> str:
    return f"{count} ({100 * count / of:.1f} %)"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"

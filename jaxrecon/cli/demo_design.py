"""The second half of the demonstration: clusters made for an energy, and what is said of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.inverse_design.config import GenerateConfig
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.inverse_design.generation import generate
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.training import train
from jaxrecon.potentials.judge import judge
from jaxrecon.runtime import tables
from jaxrecon.runtime.progress import ProgressFn, reporter

TARGETS = (1.9, 2.8, 3.7)
"""In eV/atom."""
COUNT = 10
"""Clusters for each."""

LEARNING = TrainConfig(forces=False, generator_fit=FitConfig(3, 128, 1e-3, 500, 64))
"""Without forces, which take four times as long to learn from and make a sixth less error."""

CHECKING = TrainConfig(
    # Of no use: it is the networks that are asked.
    generator_fit=FitConfig(1, 1, 1e-3, 1, 64),
    surrogate="network",
    surrogate_fit=FitConfig(2, 64, 2e-3, 300, 32),
    members=10,
)

COLUMNS = {
    "target": ("target", "g"),
    "made": ("made", "d"),
    "predicted": ("predicted", ".2f"),
    "spread": ("spread", ".3f"),
    "+-": ("deviation", ".3f"),
    "hits": ("hits", "d"),
    "networks": ("networks", ".2f"),
    "their hits": ("networks_hits", "d"),
    "EMT": ("emt", ".2f"),
    "known": ("emt_of_known", ".2f"),
    "unique": ("unique", "d"),
    "novel": ("novel", "d"),
    "s": ("seconds", ".1f"),
}
"""Of the table that a design prints as: what of a row, and how it is written."""

SIDES = dict.fromkeys(COLUMNS, ">")


@dataclass(frozen=True)
class Row:
    """What was made for a target, in eV/atom; None where nothing is known.

    Attributes:
        target: the energy of formation that was wanted.
        made: clusters.
        predicted: mean of what the surrogate predicts, by which the search was guided.
        spread: standard deviation of these predictions.
        deviation: mean of the standard deviations that the surrogate tells of its own errors.
        hits: how many predictions are within the tolerance of the target.
        networks: mean of what networks say that the search has not seen.
        networks_hits: how many clusters hit the target by these.
        emt: mean energy of formation by effective medium theory.
        emt_of_known: the same of training clusters that PBE puts within the tolerance.
        unique: how many are no duplicate of an earlier one.
        novel: how many are the same as no training cluster.
        seconds: that making them took.
    """

    target: float
    made: int
    predicted: float | None
    spread: float | None
    deviation: float | None
    hits: int
    networks: float | None
    networks_hits: int
    emt: float | None
    emt_of_known: float | None
    unique: int
    novel: int
    seconds: float

    @property
    def words(self) -> list[str]:
        """For each of the columns."""
        values = [(getattr(self, name), how) for name, how in COLUMNS.values()]
        return ["-" if value is None else format(value, how) for value, how in values]


@dataclass(frozen=True, eq=False)
class Designed:
    """Clusters for all targets, and who says what of them.

    Attributes:
        model: that made them.
        check: whose networks were asked.
        structures: with ``target``, ``predicted``, its standard ``deviation``, ``networks``, their
            ``networks_deviation``, ``emt`` and what else
            :func:`~jaxrecon.inverse_design.generation.generate` says in ``info``; energies in
            eV/atom.
        emt_of_known: energies of formation of the training set by effective medium theory.
        rows: one a target.
        tolerance: how far from the target a hit may be.
    """

    model: DesignModel
    check: DesignModel
    structures: list[Atoms]
    emt_of_known: Float[np.ndarray, " m"]
    rows: list[Row]
    tolerance: float

    def __str__(self) -> str:
        return tables.text(SIDES, [row.words for row in self.rows])

    def to_html(self) -> str:
        """The table for a page."""
        return tables.html(SIDES, [row.words for row in self.rows], "energies in eV/atom")

    @property
    def remarks(self) -> list[str]:
        """What the columns mean, and what they do not."""
        known, told = len(self.model.training), self.model.validation
        return [
            "predicted: by the Gaussian process that guided the search, with the spread among the "
            f"clusters and the error that it expects of itself (+-). Of {known} known clusters it "
            f"was {told['mae']:.3f} eV/atom off on {told['examples']} validation examples. What it "
            "thinks of clusters that were made to please it is no proof.",
            f"networks: {self.check.config.members} that the search has not seen, "
            f"{self.check.validation['mae']:.3f} eV/atom off on the same {told['examples']}. They "
            "know the same clusters: a second opinion, and no proof either.",
            "EMT: effective medium theory, another potential with a scale of its own, not PBE. "
            "known: what EMT says of known clusters that PBE puts within "
            f"{self.tolerance:g} of the target; those made for it should be near that.",
            f"hits: within {self.tolerance:g} of the target. unique, novel: not the same as an "
            "earlier one, as a known one.",
        ]

    def to_dict(self) -> dict[str, Any]:
        """All but the structures, as plain data for JSON."""
        return {
            "targets": [asdict(row) for row in self.rows],
            "learning": self.model.config.to_dict(),
            "validation": self.model.validation,
            "checking": self.check.config.to_dict(),
            "validation_of_networks": self.check.validation,
            "tolerance": self.tolerance,
            "remarks": self.remarks,
        }


def design(
    labelled: LabelledSet,
    *,
    targets: Sequence[float] = TARGETS,
    count: int = COUNT,
    learning: TrainConfig = LEARNING,
    checking: TrainConfig = CHECKING,
    making: GenerateConfig | None = None,
    seed: int = 0,
    progress: bool | ProgressFn = False,
) -> Designed:
    """Learn from labelled clusters, make some for each target, and ask for other opinions of them.

    Args:
        labelled: clusters of one composition with their energies of formation, in eV/atom.
        targets: energies of formation that are wanted, in eV/atom.
        count: clusters to make for each.
        learning: settings of the model that makes them.
        checking: settings of the model whose networks are asked.
        making: how they are made; None for the usual settings.
        seed: of the random numbers.
        progress: True shows progress bars; a function is called as by
            :func:`~jaxrecon.models.training.train` and
            :func:`~jaxrecon.inverse_design.generation.generate`.
    """
    making = making or GenerateConfig()
    model = train(labelled, learning.replace(seed=seed), progress=progress)
    check = train(labelled, checking.replace(seed=seed), progress=progress)
    with reporter(progress, len(targets) * count, "making") as report:
        made = [
            generate(model, target, count, seed=seed, config=making, progress=report)
            for target in targets
        ]
    fingerprints = np.concatenate([each.fingerprints for each in made])
    # Where no replica was ever finite there is no cluster: fewer are made than were asked for.
    there = np.flatnonzero(np.isfinite(fingerprints).all(axis=1))
    whole = [atoms for each in made for atoms in each]
    structures = [whole[row] for row in there]
    _ask(check, structures, fingerprints[there])
    known = labelled.structures
    assert known is not None, "clusters are made like those of the set"
    judged = judge([*known, *structures], "emt")
    emt = np.array([atoms.info.get("e_form", np.nan) for atoms in judged])
    for atoms, energy in zip(structures, emt[len(known) :].tolist(), strict=True):
        atoms.info["emt"] = energy
    near = [np.abs(labelled.formation_energies - target) <= making.tolerance for target in targets]
    rows = [
        _row(target, each, _mean(emt[: len(known)][like]), making.tolerance)
        for target, each, like in zip(targets, made, near, strict=True)
    ]
    return Designed(model, check, structures, emt[: len(known)], rows, making.tolerance)


def _ask(check: DesignModel, structures: Sequence[Atoms], fingerprints: np.ndarray) -> None:
    """Put what networks say of structures into their ``info``."""
    means, deviations = check.predict(fingerprints)
    # They agree with each other more than with the truth: by how much is known from those aside.
    more = max(check.validation["calibration"] or 1.0, 1.0)
    for atoms, mean, deviation in zip(structures, means.tolist(), deviations.tolist(), strict=True):
        atoms.info["networks"], atoms.info["networks_deviation"] = mean, more * deviation


def _row(target: float, made: Generated, emt_of_known: float | None, tolerance: float) -> Row:
    there = [atoms.info for atoms in made if "networks" in atoms.info]

    def of(name: str) -> Float[np.ndarray, " n"]:
        return np.array([info[name] for info in there], float)

    def hits(name: str) -> int:
        return int(np.sum(np.abs(of(name) - target) <= tolerance))

    return Row(
        target=target,
        made=len(there),
        predicted=_mean(of("predicted")),
        spread=float(np.std(of("predicted"))) if there else None,
        deviation=_mean(of("deviation")),
        hits=hits("predicted"),
        networks=_mean(of("networks")),
        networks_hits=hits("networks"),
        emt=_mean(of("emt")),
        emt_of_known=emt_of_known,
        unique=sum(not info["duplicate"] for info in there),
        novel=sum(not info["known"] for info in there),
        seconds=made.metadata["seconds"],
    )


def _mean(values: Float[np.ndarray, " n"]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None

"""The second half of the demonstration: clusters made for energies, and their evaluation."""

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
"""Wanted formation energies in eV/atom."""

COUNT = 10
"""Number of clusters to make for each energy."""

TRAIN_CONFIG = TrainConfig(forces=False, generator_fit=FitConfig(3, 128, 1e-3, 500, 64))
"""Settings of the model that makes clusters.

It learns from energies alone: forces would reduce its error by a sixth, and quadruple the time.
"""

CHECK_CONFIG = TrainConfig(
    # Only the surrogate of this model is used: its generator is as small as possible.
    generator_fit=FitConfig(1, 1, 1e-3, 1, 64),
    surrogate="network",
    surrogate_fit=FitConfig(2, 64, 2e-3, 300, 32),
    members=10,
)
"""Settings of the model whose networks evaluate the clusters."""

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
"""Attribute of a row and its format for each column of the table."""

SIDES = dict.fromkeys(COLUMNS, ">")
"""Alignment of the columns."""


@dataclass(frozen=True)
class Row:
    """Results for one target; energies in eV/atom, None where nothing is known.

    Attributes:
        target: the wanted formation energy.
        made: number of clusters that were made.
        predicted: mean prediction of the surrogate that guided the search.
        spread: standard deviation of these predictions.
        deviation: mean of the standard deviations that the surrogate predicts for its errors.
        hits: number of predictions within the tolerance of the target.
        networks: mean prediction of networks that did not guide the search.
        networks_hits: number of their predictions within the tolerance.
        emt: mean formation energy by effective medium theory.
        emt_of_known: the same for training clusters that PBE puts within the tolerance.
        unique: number of clusters that are no duplicate of an earlier one.
        novel: number of clusters that are in the training set neither.
        seconds: time to make the clusters.
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
    def cells(self) -> list[str]:
        """The entry of each column."""
        values = [(getattr(self, name), how) for name, how in COLUMNS.values()]
        return ["-" if value is None else format(value, how) for value, how in values]


@dataclass(frozen=True, eq=False)
class Designed:
    """Clusters for all targets, and their evaluation.

    Attributes:
        model: the model that made the clusters.
        check: the model whose networks evaluated them.
        structures: the clusters, with the ``info`` of
            :func:`~jaxrecon.inverse_design.generation.generate` and ``networks``,
            ``networks_deviation`` and ``emt``, in eV/atom.
        emt_of_known: formation energies of the training set by effective medium theory, in eV/atom.
        rows: the results for each target.
        tolerance: largest distance of a hit from the target, in eV/atom.
    """

    model: DesignModel
    check: DesignModel
    structures: list[Atoms]
    emt_of_known: Float[np.ndarray, " m"]
    rows: list[Row]
    tolerance: float

    def __str__(self) -> str:
        return tables.text(SIDES, [row.cells for row in self.rows])

    def to_html(self) -> str:
        """The table for a page."""
        return tables.html(SIDES, [row.cells for row in self.rows], "energies in eV/atom")

    @property
    def remarks(self) -> list[str]:
        """Explanations of the columns and of their limits."""
        known, validation = len(self.model.training), self.model.validation
        return [
            "predicted: mean prediction of the Gaussian process that guided the search; spread: "
            "its standard deviation among the clusters; +-: the standard deviation that the "
            f"process predicts for its errors. On {validation['examples']} validation examples "
            f"among {known} known clusters its mean absolute error was {validation['mae']:.3f} "
            "eV/atom. The clusters were optimised for it, so it proves nothing by itself.",
            f"networks: mean prediction of {self.check.config.members} networks that did not guide "
            f"the search, with an error of {self.check.validation['mae']:.3f} eV/atom on the same "
            "examples. They learned from the same clusters: a second opinion, and no proof either.",
            "EMT: effective medium theory, another potential than PBE, with an energy scale of its "
            "own. known: its mean for known clusters that PBE puts within "
            f"{self.tolerance:g} eV/atom of the target, which the clusters made for it should be "
            "near to.",
            f"hits: clusters within {self.tolerance:g} eV/atom of the target. unique: no duplicate "
            "of an earlier cluster. novel: not in the training set.",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything except the structures, as plain data for JSON."""
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
    train_config: TrainConfig = TRAIN_CONFIG,
    check_config: TrainConfig = CHECK_CONFIG,
    generate_config: GenerateConfig | None = None,
    seed: int = 0,
    progress: bool | ProgressFn = False,
) -> Designed:
    """Train on labelled clusters, make clusters for each target, and evaluate them independently.

    Args:
        labelled: clusters of one composition with formation energies in eV/atom.
        targets: wanted formation energies in eV/atom.
        count: number of clusters to make for each.
        train_config: settings of the model that makes them.
        check_config: settings of the model whose networks evaluate them.
        generate_config: settings of the generation; None for the default ones.
        seed: seed of the random numbers.
        progress: True shows progress bars; a function is called as by
            :func:`~jaxrecon.models.training.train` and
            :func:`~jaxrecon.inverse_design.generation.generate`.

    Returns:
        The clusters, the models and a row for each target.
    """
    config = generate_config or GenerateConfig()
    model = train(labelled, train_config.replace(seed=seed), progress=progress)
    check = train(labelled, check_config.replace(seed=seed), progress=progress)
    with reporter(progress, len(targets) * count, "making") as report:
        made = [
            generate(model, target, count, seed=seed, config=config, progress=report)
            for target in targets
        ]
    # A search in which no replica was ever finite has made no cluster: leave it out.
    fingerprints = np.concatenate([group.fingerprints for group in made])
    finite = np.flatnonzero(np.isfinite(fingerprints).all(axis=1))
    clusters = [atoms for group in made for atoms in group]
    structures = [clusters[row] for row in finite]
    _add_networks(check, structures, fingerprints[finite])
    # EMT has an energy scale of its own: judge the known clusters too, to compare with them.
    known = labelled.structures
    assert known is not None, "clusters are made like those of the set"
    judged = judge([*known, *structures], "emt")
    emt = np.array([atoms.info.get("e_form", np.nan) for atoms in judged])
    for atoms, energy in zip(structures, emt[len(known) :].tolist(), strict=True):
        atoms.info["emt"] = energy
    emt_of_known = emt[: len(known)]
    rows = []
    for target, group in zip(targets, made, strict=True):
        near = np.abs(labelled.formation_energies - target) <= config.tolerance
        rows.append(_row(target, group, _mean(emt_of_known[near]), config.tolerance))
    return Designed(model, check, structures, emt_of_known, rows, config.tolerance)


def _add_networks(
    check: DesignModel, structures: Sequence[Atoms], fingerprints: np.ndarray
) -> None:
    """Add the predictions of the networks to the ``info`` of the structures."""
    means, deviations = check.predict(fingerprints)
    # Networks agree with each other more than with the truth: by how much, validation examples say.
    factor = max(check.validation["calibration"] or 1.0, 1.0)
    for atoms, mean, deviation in zip(structures, means.tolist(), deviations.tolist(), strict=True):
        atoms.info["networks"], atoms.info["networks_deviation"] = mean, factor * deviation


def _row(target: float, made: Generated, emt_of_known: float | None, tolerance: float) -> Row:
    """The results for a target, of the clusters that were evaluated."""
    infos = [atoms.info for atoms in made if "networks" in atoms.info]

    def column(name: str) -> Float[np.ndarray, " n"]:
        return np.array([info[name] for info in infos], float)

    def hits(name: str) -> int:
        return int(np.sum(np.abs(column(name) - target) <= tolerance))

    return Row(
        target=target,
        made=len(infos),
        predicted=_mean(column("predicted")),
        spread=float(np.std(column("predicted"))) if infos else None,
        deviation=_mean(column("deviation")),
        hits=hits("predicted"),
        networks=_mean(column("networks")),
        networks_hits=hits("networks"),
        emt=_mean(column("emt")),
        emt_of_known=emt_of_known,
        unique=sum(not info["duplicate"] for info in infos),
        novel=sum(not info["known"] for info in infos),
        seconds=made.metadata["seconds"],
    )


def _mean(values: Float[np.ndarray, " n"]) -> float | None:
    """The mean of the finite values; None if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None

"""The second part of the demonstration: clusters and crystals made for energies."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon import datasets
from jaxrecon.cli.demo_orders import CLUSTERS, CRYSTALS, POTENTIAL, Order, alloys
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.inverse_design.generation import generate
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.training import train
from jaxrecon.potentials.judge import judge
from jaxrecon.runtime import tables
from jaxrecon.runtime.progress import ProgressFn, reporter

COLUMNS = {
    "wanted": "{0.target:g}",
    "predicted": "{0.predicted:.2f}",
    "stated error": "{0.deviation:.2f}",
    "predicted within {:g}": "{0.hits}/{0.made}",
    "EMT says": "{0.emt:.2f}",
    "EMT of known": "{0.emt_of_known:.2f}",
    "new": "{0.new}/{0.made}",
}
"""Entries of a row for each column of the table; ``{:g}`` is the tolerance."""


@dataclass(frozen=True)
class Row:
    """Results for one target; energies in eV/atom, NaN where nothing is known.

    Attributes:
        target: the wanted formation energy.
        made: number of structures that were made.
        predicted: mean prediction of the surrogate that guided the search.
        deviation: mean of the standard deviations that the surrogate states for its errors.
        hits: number of predictions within the tolerance of the target.
        emt: mean formation energy by effective medium theory.
        emt_of_known: the same for training structures within the tolerance of the target.
        new: number of structures that repeat neither an earlier one nor one of the training set.
        seconds: time to make the structures.
    """

    target: float
    made: int
    predicted: float
    deviation: float
    hits: int
    emt: float
    emt_of_known: float
    new: int
    seconds: float

    @property
    def cells(self) -> list[str]:
        """The entry of each column."""
        entries = [how.format(self) for how in COLUMNS.values()]
        return ["-" if entry == "nan" else entry for entry in entries]


@dataclass(frozen=True, eq=False)
class Designed:
    """Structures for all targets, and their evaluation.

    Attributes:
        order: what was wanted.
        model: the model that made them.
        structures: the structures, with the ``info`` of
            :func:`~jaxrecon.inverse_design.generation.generate` and ``emt``, in eV/atom.
        emt_of_known: formation energies of the training set by effective medium theory, in eV/atom.
        rows: the results for each target.
    """

    order: Order
    model: DesignModel
    structures: list[Atoms]
    emt_of_known: Float[np.ndarray, " m"]
    rows: list[Row]

    def __str__(self) -> str:
        return tables.text(self._sides, [row.cells for row in self.rows])

    def to_html(self) -> str:
        """The table for a page."""
        return tables.html(self._sides, [row.cells for row in self.rows])

    @property
    def _sides(self) -> dict[str, str]:
        """Alignment of the columns of the table."""
        return {name.format(self.order.making.tolerance): ">" for name in COLUMNS}

    @property
    def error(self) -> str:
        """How far the model is off on structures that it did not learn from, in words."""
        said, known = self.model.validation, len(self.model.training)
        unseen = int(said["examples"] or 0)
        return (
            f"The model learned from {known - unseen} structures and is off by {said['mae']:.3f} "
            f"eV/atom on {unseen} others. {self.order.remark}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything except the structures, as plain data for JSON."""
        return {
            "symbols": self.order.symbols,
            "targets": [asdict(row) for row in self.rows],
            "learning": self.model.config.to_dict(),
            "making": self.order.making.to_dict(),
            "validation": self.model.validation,
        }


def clusters(seed: int, progress: bool) -> Designed:
    """Make clusters of platinum, after learning from ``pt10_pbe``.

    Args:
        seed: seed of the random numbers.
        progress: whether to show progress bars.
    """
    return design(datasets.load("pt10_pbe"), CLUSTERS, seed=seed, progress=progress)


def crystals(seed: int, progress: bool) -> Designed:
    """Make crystals of Cu3Au, after learning from other crystals of both elements.

    Args:
        seed: seed of the random numbers.
        progress: whether to show progress bars.
    """
    return design(alloys(seed), CRYSTALS, seed=seed, progress=progress)


def design(
    labelled: LabelledSet,
    order: Order,
    *,
    seed: int = 0,
    progress: bool | ProgressFn = False,
) -> Designed:
    """Train on labelled structures, make structures for each target, and judge them.

    Args:
        labelled: structures with formation energies in eV/atom.
        order: what to make.
        seed: seed of the random numbers.
        progress: True shows progress bars; a function is called as by
            :func:`~jaxrecon.models.training.train` and
            :func:`~jaxrecon.inverse_design.generation.generate`.

    Returns:
        The structures, the model and a row for each target.
    """
    model = train(labelled, order.learning.replace(seed=seed), progress=progress)
    with reporter(progress, len(order.targets) * order.count, "making") as report:
        made = [
            generate(
                model,
                target,
                order.count,
                symbols=order.symbols,
                seed=seed,
                config=order.making,
                progress=report,
            )
            for target in order.targets
        ]
    # A search in which no replica was ever finite has made nothing: leave it out.
    found = [_found(group) for group in made]
    structures = [atoms for group in found for atoms in group]
    known = labelled.structures
    assert known is not None, "structures are made like those of the set"
    judged = judge([*known, *structures], POTENTIAL)
    emt = np.array([atoms.info.get("e_form", np.nan) for atoms in judged])
    for atoms, energy in zip(structures, emt[len(known) :].tolist(), strict=True):
        atoms.info["emt"] = energy
    emt_of_known, tolerance = emt[: len(known)], order.making.tolerance
    rows = []
    for target, group, whole in zip(order.targets, found, made, strict=True):
        near = np.abs(labelled.formation_energies - target) <= tolerance
        seconds = whole.metadata["seconds"]
        rows.append(_row(target, group, _mean(emt_of_known[near]), tolerance, seconds))
    return Designed(order, model, structures, emt_of_known, rows)


def _found(made: Generated) -> list[Atoms]:
    """The structures that a search has found."""
    finite = np.isfinite(made.fingerprints).all(axis=1)
    return [atoms for atoms, there in zip(made, finite, strict=True) if there]


def _row(
    target: float,
    made: Sequence[Atoms],
    emt_of_known: float,
    tolerance: float,
    seconds: float,
) -> Row:
    """The results for a target, of the structures that were judged."""
    infos = [atoms.info for atoms in made]

    def column(name: str) -> Float[np.ndarray, " n"]:
        return np.array([info[name] for info in infos], float)

    return Row(
        target=target,
        made=len(infos),
        predicted=_mean(column("predicted")),
        deviation=_mean(column("deviation")),
        hits=int(np.sum(np.abs(column("predicted") - target) <= tolerance)),
        emt=_mean(column("emt")),
        emt_of_known=emt_of_known,
        new=sum(not (info["duplicate"] or info["known"]) for info in infos),
        seconds=seconds,
    )


def _mean(values: Float[np.ndarray, " n"]) -> float:
    """The mean of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan

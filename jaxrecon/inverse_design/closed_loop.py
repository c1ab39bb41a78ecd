"""Closed loop: make structures, have them judged, learn from that, and make better ones."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.inverse_design.config import GenerateConfig, Wanted, range_of
from jaxrecon.inverse_design.evaluation import Row, table2
from jaxrecon.inverse_design.generation import generate
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.training import train
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore, digest
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.search.store import Store
from jaxrecon.structures.io import read_structures, write_structures

WORDS = ("designing", "evaluations")
"""For the progress bar."""
MADE = "generated"
"""Kind of the structures that are added to the set."""


@dataclass(frozen=True, eq=False)
class Design:
    """What has come of a closed loop: :func:`~jaxrecon.inverse_design.closed_loop.design` has an
    example.

    Attributes:
        structures: made by the last model, with ``info`` as
            :class:`~jaxrecon.inverse_design.generated.Generated` has it.
        rounds: one row each, as plain data: ``labels`` that the model has had of the loop;
            its error on the rows that were kept aside, ``surrogate_mae`` in eV/atom; structures
            ``made``, the ``yield``, that is the part that is kept, and how many were ``judged``;
            ``hits``, ``hit_rate`` and ``mae`` of those. The last round is not judged.
        labelled: the set with all that was judged.
        model: the last one.
    """

    structures: list[Atoms]
    rounds: list[Row]
    labelled: LabelledSet
    model: DesignModel


def design(
    labelled: LabelledSet,
    wanted: Wanted,
    count: int,
    folder: str | os.PathLike[str],
    *,
    calculator: str,
    rounds: int = 2,
    labels: int = 20,
    symbols: str | None = None,
    train_config: TrainConfig | None = None,
    generate_config: GenerateConfig | None = None,
    bulk: Mapping[str, float] | None = None,
    jobs: int | None = None,
    seed: int = 0,
    progress: bool | ProgressFn = False,
) -> Design:
    """Make structures that have a property, with a model that learns what a judge says of them.

    In each round a model is trained, some structures are made with it, and all of them are judged
    but those that are the same as others or have atoms too close; they are added to the set. The
    structures that are asked for are made by a last model and not judged. The folder has all that
    is done: the same call goes on from there, whenever the one before has ended.

    Args:
        labelled: what to begin with.
        wanted: a value of the property, or from where to where, in eV/atom.
        count: structures to make in the end.
        folder: of this run; made if it is not there.
        calculator: name for :func:`~jaxrecon.potentials.registry.reference_calculator`.
        rounds: how often structures are judged.
        labels: structures made to be judged in each round: energies that it costs at most.
        symbols: formula, where the set has fingerprints alone.
        train_config: settings of the models.
        generate_config: settings of how structures are made.
        bulk: energies of reference crystals in eV/atom that are not to be computed.
        jobs: processes that judge; None for what joblib is set to.
        seed: of the random numbers.
        progress: True shows a progress bar; a function is called with the structures that were
            made or judged and the evaluations since its last call.

    Returns:
        The structures, each with what is known of it, what came of each round, and the set and
        the model that it ends with.

    Raises:
        ValueError: if an argument is out of range, the folder is that of another run, or the set
            is none that can be learned from.
        OSError: if a file can't be written.

    >>> from jaxrecon.datasets import load
    >>> loop = design(load("pt10_pbe"), 1.9, 100, "low", calculator="gpaw")  # doctest: +SKIP
    >>> loop.rounds[0]["hit_rate"], len(loop.labelled)  # doctest: +SKIP
    """
    for name, number, least in (("count", count, 1), ("rounds", rounds, 0), ("labels", labels, 1)):
        if number < least:
            raise ValueError(f"expected {name} >= {least}, got {number}")
    learning, making = train_config or TrainConfig(), generate_config or GenerateConfig()
    low, high = range_of(wanted)
    folder = Path(folder)
    energies = hashlib.sha256(labelled.formation_energies.tobytes()).hexdigest()
    known = labelled.structures
    _claim(
        folder,
        {
            "wanted": [low if math.isfinite(low) else None, high if math.isfinite(high) else None],
            "count": count,
            "rounds": rounds,
            "labels": labels,
            "symbols": symbols,
            "calculator": reference_calculator(calculator).settings,
            "bulk": dict(bulk or {}),
            "seed": seed,
            "train": learning.to_dict(),
            "generate": making.to_dict(),
            "set": [len(labelled), energies, "" if known is None else digest(known)],
        },
    )
    told: list[Row] = []
    with reporter(progress, total(count, rounds, labels), *WORDS) as report:
        for number in range(rounds + 1):
            last = number == rounds
            place = folder / f"round-{number}"
            place.mkdir(exist_ok=True)
            model = _trained(place, labelled, learning, symbols, report)
            wish = count if last else labels
            made = _made(place, model, wanted, wish, making, _seed(seed, number), report)
            row: Row = {
                "round": number,
                "labels": sum(each["judged"] for each in told),
                "surrogate_mae": model.validation["mae"],
                "made": len(made),
                "yield": float(np.mean([atoms.info["accepted"] for atoms in made])),
            }
            if last:
                told.append(row)
                break
            chosen = [atoms for atoms in made if _worth_it(atoms, making)]
            judged = _judged(place, chosen, calculator, bulk, jobs, report)
            report(labels - len(chosen), 0)
            told.append({**row, **_hits(judged)})
            labelled = _with(labelled, judged, model)
    write_json(folder / "rounds.json", told)
    return Design(made, told, labelled, model)


def total(count: int, rounds: int, labels: int) -> int:
    """How many structures such a run makes or judges at most."""
    return rounds * 2 * labels + count


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Have the folder for this run alone."""
    folder.mkdir(parents=True, exist_ok=True)
    path, wanted = folder / "run.json", json.loads(json.dumps(description))
    if not path.exists():
        # A run that was killed at once has left a draft of this file.
        if any(not each.name.startswith(".jaxrecon-") for each in folder.iterdir()):
            raise ValueError(f"expected an empty folder or one of such a run, got {folder}")
        write_json(path, wanted)
    known = json.loads(path.read_text())
    for name in wanted:
        if known.get(name) != wanted[name]:
            raise ValueError(
                f"expected the run that {folder} was begun with, got another: {name}: "
                f"{known.get(name)} != {wanted[name]}"
            )


def _seed(seed: int, number: int) -> int:
    """Of a round: one that no round of a run with another seed has."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _trained(
    place: Path,
    labelled: LabelledSet,
    config: TrainConfig,
    symbols: str | None,
    report: ProgressFn,
) -> DesignModel:
    path = place / "model"
    if not path.exists():
        model = train(
            labelled,
            config,
            symbols=symbols,
            store=place / "training",
            # Epochs are no structures, but a place to stop at.
            progress=lambda epochs, rows: report(0, 0),
        )
        model.save(path)
    return DesignModel.load(path)


def _made(
    place: Path,
    model: DesignModel,
    wanted: Wanted,
    count: int,
    config: GenerateConfig,
    seed: int,
    report: ProgressFn,
) -> list[Atoms]:
    path = place / "generated.extxyz"
    if path.exists():
        report(count, 0)
    else:
        store = Store(place / "generated.db", resume=True)
        made = generate(
            model, wanted, count, seed=seed, config=config, store=store, progress=report
        )
        write_json(place / "generated.json", made.to_dict())
        write_structures(path, list(made))
    # What is read has the digits of the file, whether there was an interruption or not.
    return read_structures(path)


def _worth_it(atoms: Atoms, config: GenerateConfig) -> bool:
    same = atoms.info["duplicate"] or atoms.info.get("known", False)
    return bool(not same and atoms.info["shortest"] >= config.shortest)


def _judged(
    place: Path,
    structures: Sequence[Atoms],
    calculator: str,
    bulk: Mapping[str, float] | None,
    jobs: int | None,
    report: ProgressFn,
) -> list[Atoms]:
    if not structures:
        return []
    store = LabelStore(place / "judged.db", resume=True)
    found = judge(structures, calculator, bulk=bulk, jobs=jobs, store=store, progress=report)
    write_structures(place / "judged.extxyz", found.structures)
    return found.structures


def _hits(judged: Sequence[Atoms]) -> Row:
    if not judged:
        return {"judged": 0, "hits": 0, "hit_rate": None, "mae": None}
    row = table2(judged)[0]
    return {
        "judged": row["count"],
        "hits": row["hits"],
        "hit_rate": row["within"],
        "mae": row["mae"],
    }


def _with(labelled: LabelledSet, judged: Sequence[Atoms], model: DesignModel) -> LabelledSet:
    """The set and what was judged, each structure a trajectory of its own."""
    new = [atoms for atoms in judged if "e_form" in atoms.info]
    if not new:
        return labelled
    first = int(labelled.trajectories.max()) + 1
    alone = [Atoms(atoms.numbers, atoms.positions) for atoms in new]
    structures, fingerprints = labelled.structures, None
    if structures is None:
        assert labelled.fingerprints is not None, "a set has structures or fingerprints"
        fingerprints = np.concatenate([labelled.fingerprints, featurize(alone, model.fingerprint)])
    return LabelledSet.of(
        None if structures is None else [*structures, *alone],
        fingerprints=fingerprints,
        energies=_joined(labelled.energies, [atoms.get_potential_energy() for atoms in new]),
        formation_energies=_joined(
            labelled.formation_energies, [atoms.info["e_form"] for atoms in new]
        ),
        trajectories=_joined(labelled.trajectories, range(first, first + len(new))),
        kinds=[*labelled.kinds, *[MADE] * len(new)],
        forces=None
        if labelled.forces is None
        else [*labelled.forces, *(atoms.get_forces() for atoms in new)],
    )


def _joined(known: np.ndarray, new: Sequence[float]) -> np.ndarray:
    return np.concatenate([known, new])

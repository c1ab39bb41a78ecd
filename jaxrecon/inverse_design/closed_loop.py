"""Closed loop: make structures, judge them, learn from their energies, and make better ones."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.inverse_design.config import GenerateConfig, Wanted, range_of
from jaxrecon.inverse_design.evaluation import Row, table2
from jaxrecon.inverse_design.generation import generate
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.folder import load_model, save_model
from jaxrecon.models.registry import SURROGATES
from jaxrecon.models.surrogates.local import LocalSurrogate
from jaxrecon.models.training import checked_formula, train
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore, digest
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.runtime.descriptions import difference, growth
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.search.store import Store
from jaxrecon.structures.io import read_structures, write_structures

WORDS = ("designing", "evaluations")
"""Name of the work, and of what is counted, on the progress bar."""

MORE = ("count", "rounds")
"""Settings of a run that may be larger when it is continued."""

Choice = Literal["first", "deviation", "rigidity"]
"""Which of the structures that are made are judged."""

CANDIDATES = 3
"""Structures that are made for each one that is judged, where some are chosen."""

KIND = "generated"
"""Kind of the structures that are added to the labelled set."""


@dataclass(frozen=True, eq=False)
class Design:
    """Result of a closed loop; :func:`~jaxrecon.inverse_design.closed_loop.design` has an example.

    Attributes:
        structures: structures made by the last model, with ``info`` as in
            :class:`~jaxrecon.inverse_design.generated.Generated`.
        rounds: one row of plain data per round: ``labels``, the number of structures judged in
            earlier rounds; ``surrogate_mae``, the error on the validation examples in eV/atom; the
            number ``made``; ``yield``, the fraction accepted; ``deviation``, the mean standard
            deviation of their predictions in eV/atom; the number ``judged``; ``hits``,
            ``hit_rate`` and ``mae`` (in eV/atom) of those. The last round is not judged.
        labelled: the labelled set with all judged structures.
        model: model of the last round.
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
    choose: Choice = "first",
    symbols: str | None = None,
    train_config: TrainConfig | None = None,
    generate_config: GenerateConfig | None = None,
    bulk: Mapping[str, float] | None = None,
    jobs: int | None = None,
    seed: int = 0,
    progress: bool | ProgressFn = False,
) -> Design:
    """Make structures with a wanted energy, with a model that learns from a reference calculator.

    In each round a model is trained and some structures are made with it. They are judged, except
    duplicates, known structures and those with atoms too close, and added to the labelled set. At
    the end, a last model makes the structures that are returned, which are not judged. The folder
    stores everything: the same call continues an interrupted run, and a call with a larger
    ``count`` or more ``rounds`` goes on from there, as if it had been begun with these.

    Args:
        labelled: labelled set to begin with.
        wanted: a formation energy, or a range, in eV/atom.
        count: number of structures to make at the end.
        folder: folder of this run, which is made if it does not exist.
        calculator: name for :func:`~jaxrecon.potentials.registry.reference_calculator`.
        rounds: number of rounds in which structures are judged.
        labels: largest number of structures judged in each of these rounds.
        choose: which ones are judged: ``"first"``, all of as many as are made; or, of three times
            as many, those with the largest ``"deviation"`` of the prediction, or with the smallest
            ``"rigidity"`` of an atom, which a surrogate of energies of atoms knows.
        symbols: chemical formula; needed for a set of fingerprints alone.
        train_config: settings of the models; None for the default ones.
        generate_config: settings of the generation; None for the default ones.
        bulk: energies of the bulk crystals of the elements in eV/atom; others are computed.
        jobs: number of processes that judge; None for joblib's default.
        seed: seed of the random numbers.
        progress: True shows a progress bar; a function is called with the structures that were made
            or judged and the evaluations since its last call.

    Returns:
        The structures, the numbers of each round, and the labelled set and the model at the end.

    Raises:
        ValueError: if an argument is out of range, the folder belongs to another run, or nothing
            can be learned from the set.
        OSError: if a file can't be written.

    >>> from jaxrecon.datasets import load
    >>> loop = design(load("pt10_pbe"), 1.9, 100, "low", calculator="gpaw")  # doctest: +SKIP
    >>> loop.rounds[0]["hit_rate"], len(loop.labelled)  # doctest: +SKIP
    """
    for name, number, least in (("count", count, 1), ("rounds", rounds, 0), ("labels", labels, 1)):
        if number < least:
            raise ValueError(f"expected {name} >= {least}, got {number}")
    # A set that can't be learned from must not leave a folder behind.
    if checked_formula(labelled, symbols) is None:
        raise ValueError("expected structures of one composition to improve a model, got several")
    training, making = train_config or TrainConfig(), generate_config or GenerateConfig()
    if choose not in get_args(Choice):
        raise ValueError(f"expected choose among {get_args(Choice)}, got {choose!r}")
    if choose == "rigidity" and not issubclass(SURROGATES[training.surrogate], LocalSurrogate):
        raise ValueError(
            "expected a surrogate of energies of atoms to choose by rigidity, local_gpr or "
            f"local_network, got {training.surrogate}"
        )
    seed = checked_seed(seed)
    folder = Path(folder)
    _claim(
        folder,
        {
            "wanted": [end if math.isfinite(end) else None for end in range_of(wanted)],
            "count": count,
            "rounds": rounds,
            "labels": labels,
            "symbols": symbols,
            "calculator": reference_calculator(calculator).settings,
            "bulk": dict(bulk or {}),
            "seed": seed,
            "train": training.to_dict(),
            "generate": making.to_dict(),
            "set": _identity(labelled),
            # Runs that were begun without a choice go on.
            **({} if choose == "first" else {"choose": choose}),
        },
    )
    rows: list[Row] = []
    with reporter(progress, total(count, rounds, labels, choose), *WORDS) as report:
        for number in range(rounds + 1):
            last = number == rounds
            place = folder / f"round-{number}"
            place.mkdir(exist_ok=True)
            # Train and generate. Each result is stored, and not computed again.
            model = _trained(place, labelled, training, symbols, report)
            size = count if last else _candidates(labels, choose)
            made = _made(place, model, wanted, size, making, _seed(seed, number), report)
            row: Row = {
                "round": number,
                "labels": sum(earlier["judged"] for earlier in rows),
                "surrogate_mae": model.validation["mae"],
                "made": len(made),
                "yield": float(np.mean([atoms.info["accepted"] for atoms in made])),
                "deviation": float(np.nanmean([atoms.info["deviation"] for atoms in made])),
            }
            if last:
                rows.append(row)
                break
            # Judge structures that are new and reasonable, and learn from them in the next round.
            worth = [atoms for atoms in made if _worth_judging(atoms, making)]
            chosen = _chosen(worth, labels, choose)
            judged = _judged(place, chosen, calculator, bulk, jobs, report)
            report(labels - len(chosen), 0)
            rows.append({**row, **_hits(judged)})
            labelled = _with(labelled, judged, model)
    write_json(folder / "rounds.json", rows)
    return Design(made, rows, labelled, model)


def total(count: int, rounds: int, labels: int, choose: Choice = "first") -> int:
    """Return the largest number of structures that a run makes or judges.

    Args:
        count: as for :func:`design`.
        rounds: as for :func:`design`.
        labels: as for :func:`design`.
        choose: as for :func:`design`.
    """
    return rounds * (_candidates(labels, choose) + labels) + count


def _candidates(labels: int, choose: Choice) -> int:
    """The number of structures made in a round."""
    return labels if choose == "first" else CANDIDATES * labels


def _chosen(worth: Sequence[Atoms], labels: int, choose: Choice) -> list[Atoms]:
    """The structures of a round that are judged, in the order in which they were made."""
    numbers = list(range(len(worth)))
    if choose == "deviation":
        numbers.sort(key=lambda number: -worth[number].info["deviation"])
    elif choose == "rigidity":
        numbers.sort(key=lambda number: worth[number].info["rigidity"])
    return [worth[number] for number in sorted(numbers[:labels])]


def _identity(labelled: LabelledSet) -> list[Any]:
    """Return plain data by which a labelled set is recognised."""
    energies = hashlib.sha256(labelled.formation_energies.tobytes()).hexdigest()
    known = labelled.structures
    return [len(labelled), energies, "" if known is None else digest(known)]


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Make the folder of this run, or raise ValueError if it belongs to another one.

    A run may have more rounds than it was begun with, and make more structures at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, expected = folder / "run.json", json.loads(json.dumps(description))
    if not path.exists():
        # A run that was killed at its very beginning leaves a draft of this file.
        if any(not entry.name.startswith(".jaxrecon-") for entry in folder.iterdir()):
            raise ValueError(f"expected an empty folder or one of such a run, got {folder}")
        write_json(path, expected)
    known = json.loads(path.read_text())
    less, more = growth(known, expected, MORE, ())
    if other := difference(known, less):
        raise ValueError(f"expected the run that {folder} was begun with, got another: {other}")
    if more:
        # The last round made structures that were not judged: it is repeated with the same model.
        last = folder / f"round-{known['rounds']}"
        for name in ("generated.extxyz", "generated.json"):
            (last / name).unlink(missing_ok=True)
        if "rounds" in more:
            (last / "generated.db").unlink(missing_ok=True)
        write_json(path, expected)


def _seed(seed: int, number: int) -> int:
    """Return a seed that no round of a run with another seed has."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _trained(
    place: Path,
    labelled: LabelledSet,
    config: TrainConfig,
    symbols: str | None,
    report: ProgressFn,
) -> DesignModel:
    """Train the model of a round, or continue its training."""
    path = place / "model"
    if not path.exists():
        model = train(
            labelled,
            config,
            symbols=symbols,
            folder=place / "training",
            # Epochs don't count as structures, but a report is a place to interrupt the run.
            progress=lambda epochs, examples: report(0, 0),
        )
        save_model(model, path)
    return load_model(path)


def _made(
    place: Path,
    model: DesignModel,
    wanted: Wanted,
    count: int,
    config: GenerateConfig,
    seed: int,
    report: ProgressFn,
) -> list[Atoms]:
    """Generate the structures of a round, or continue their generation."""
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
    # Reading gives the digits of the file, whether the run was interrupted or not.
    return read_structures(path)


def _worth_judging(atoms: Atoms, config: GenerateConfig) -> bool:
    """Return whether a structure is new and has no atoms too close."""
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
    """Judge the structures of a round, except those that are judged already."""
    if not structures:
        return []
    store = LabelStore(place / "judged.db", resume=True)
    found = judge(structures, calculator, bulk=bulk, jobs=jobs, store=store, progress=report)
    write_structures(place / "judged.extxyz", found.structures)
    return found.structures


def _hits(judged: Sequence[Atoms]) -> Row:
    """Compare the energies of a round with the wanted value."""
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
    """Add the judged structures to the set, each as a trajectory of its own."""
    new = [atoms for atoms in judged if "e_form" in atoms.info]
    if not new:
        return labelled
    first = int(labelled.trajectories.max()) + 1
    bare = [Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc) for atoms in new]
    structures, fingerprints = labelled.structures, None
    # A set of fingerprints alone gets fingerprints, because its structures are unknown.
    if structures is None:
        assert labelled.fingerprints is not None, "a set has structures or fingerprints"
        fingerprints = np.concatenate([labelled.fingerprints, featurize(bare, model.fingerprint)])
    return LabelledSet.of(
        None if structures is None else [*structures, *bare],
        fingerprints=fingerprints,
        energies=_joined(labelled.energies, [atoms.get_potential_energy() for atoms in new]),
        formation_energies=_joined(
            labelled.formation_energies, [atoms.info["e_form"] for atoms in new]
        ),
        trajectories=_joined(labelled.trajectories, range(first, first + len(new))),
        kinds=[*labelled.kinds, *[KIND] * len(new)],
        forces=None
        if labelled.forces is None
        else [*labelled.forces, *(atoms.get_forces() for atoms in new)],
    )


def _joined(known: np.ndarray, new: Sequence[float]) -> np.ndarray:
    """Append numbers to an array."""
    return np.concatenate([known, new])

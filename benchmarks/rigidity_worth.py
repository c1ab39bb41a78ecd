"""What deviations and rigidities are worth in inverse design: errors of clusters that were made.

    python benchmarks/rigidity_worth.py --judge nequix:nequix-oam-1-pft.nqx -o results
    python benchmarks/rigidity_worth.py --judge gpaw --only windows -o results

Models with several surrogates learn the 300 clusters of `pt10_pbe`, labelled by the judge (as they
are for gpaw). Sections (``--only NAME``):

- ``windows``: each model makes clusters for 1.9, 2.8 and 3.7 eV/atom, which the judge labels. The
  root mean square z of the errors over the deviations, Spearman's rank correlation of the deviation
  and the size of the error, and the area under the coverage-error curve: the mean error of the
  most certain part, averaged over all parts and divided by the mean error of all (1 where
  deviations say nothing). Beside the deviations of the surrogate, those of other estimates for the
  same structures.
- ``labels``: rounds of `design` for 1.9 eV/atom that judge all, the least certain or the least
  rigid structures; the error of new structures of each round's model.

Output: rigidity_worth.json; models, structures and labels in folders, from which it goes on.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Float
from scipy.stats import spearmanr
from timing import device_name

from jaxrecon import Environments, FitConfig, GenerateConfig, TrainConfig, featurize
from jaxrecon.datasets import LabelledSet, load
from jaxrecon.datasets.frames import from_frames
from jaxrecon.inverse_design.closed_loop import design
from jaxrecon.inverse_design.generation import generate
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.folder import load_model, save_model
from jaxrecon.models.local.committee import LocalCommittee
from jaxrecon.models.surrogates.local import LocalSurrogate
from jaxrecon.models.training import train
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.search.store import Store
from jaxrecon.structures.io import read_structures, write_structures

TARGETS = (1.9, 2.8, 3.7)
SURROGATES = ("gaussian_process", "local_gpr")


def examples(judge_name: str, folder: Path) -> LabelledSet:
    """The 300 clusters with the judge's energies and forces."""
    known = load("pt10_pbe")
    if judge_name == "gpaw":
        return known
    path = folder / "examples.extxyz"
    if not path.exists():
        found = judge(known.structures, judge_name)
        for atoms, trajectory in zip(found.structures, known.trajectories, strict=True):
            atoms.info["trajectory"] = int(trajectory)
        write_structures(path, found.structures)
    return from_frames(read_structures(path))


def trained(surrogate: str, known: LabelledSet, folder: Path) -> DesignModel:
    """The model with a surrogate."""
    path = folder / surrogate
    if not path.exists():
        save_model(train(known, TrainConfig(surrogate=surrogate)), path)
    return load_model(path)


def judged(
    model: DesignModel,
    target: float,
    place: Path,
    count: int,
    judge_name: str,
    seed: int,
    making: GenerateConfig | None = None,
) -> list[Atoms]:
    """Structures that a model makes for an energy, with the judge's energies."""
    path = place / f"judged-{target}.extxyz"
    if not path.exists():
        place.mkdir(parents=True, exist_ok=True)
        store = Store(place / f"made-{target}.db", resume=True)
        made = generate(model, target, count, seed=seed, config=making, store=store)
        labels = LabelStore(place / f"judged-{target}.db", resume=True)
        found = judge(list(made), judge_name, store=labels)
        write_structures(path, [atoms for atoms in found.structures if "e_form" in atoms.info])
    return read_structures(path)


def quality(
    errors: Float[np.ndarray, " n"], deviations: Float[np.ndarray, " n"]
) -> dict[str, float | None]:
    """How well deviations tell errors."""
    sizes = np.abs(errors)
    varied = np.ptp(deviations) > 0.0
    mean = np.cumsum(sizes[np.argsort(deviations)]) / np.arange(1, len(sizes) + 1)
    best = np.cumsum(np.sort(sizes)) / np.arange(1, len(sizes) + 1)
    return {
        "rms z": float(np.sqrt(np.mean((errors / deviations) ** 2))),
        "Spearman": float(spearmanr(deviations, sizes)[0]) if varied else None,
        "area": float(mean.mean() / sizes.mean()),
        "best possible area": float(best.mean() / sizes.mean()),
    }


def estimates(
    model: DesignModel, known: LabelledSet, structures: list[Atoms]
) -> Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]:
    """Predictions and deviations of the surrogate, and other deviations of its predictions."""
    means, deviations, each = model.predict_structures(structures)
    found = {"surrogate": (means, deviations)}
    surrogate = model.surrogate
    if not isinstance(surrogate, LocalSurrogate) or each is None:
        return found
    smallest = np.array([part.rigidities.min() for part in each])
    found["smallest rigidity"] = means, 1.0 / np.sqrt(smallest)
    found["without the floor"] = (
        means,
        np.sqrt(np.maximum(deviations**2 - float(surrogate.floor) ** 2, 1e-12)),
    )
    whole = model.predict(featurize(structures, model.fingerprint))
    found["Gaussian process of the fingerprint"] = means, whole[1]
    # Members of the committee are calibrated by the training examples.
    learned = Environments.of(
        known.structures,
        model.fingerprint.descriptor,
        totals=known.formation_energies * [len(atoms) for atoms in known.structures],
        dtype=np.float64,
    )
    settings = model.config.local_fit
    committee = LocalCommittee.of(surrogate.model, learned, settings, members=10)
    seen = Environments.of(structures, model.fingerprint.descriptor, dtype=np.float64)
    spread = committee.total_deviations(seen) / seen.counts.sum(axis=1)
    found["committee of 10, not calibrated"] = means, spread
    return found


def windows(judge_name: str, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """How well deviations tell the errors of structures that were made."""
    known = examples(judge_name, folder)
    report: dict[str, Any] = {}
    for surrogate in SURROGATES:
        model = trained(surrogate, known, folder)
        rows: dict[str, Any] = {"validation": model.validation}
        errors: dict[str, list[Any]] = {}
        for target in TARGETS:
            place = folder / f"made-{surrogate}-{seed}"
            structures = judged(model, target, place, count, judge_name, seed)
            truth = np.array([atoms.info["e_form"] for atoms in structures])
            own: dict[str, Any] = {
                "MAE to the target": float(np.abs(truth - target).mean()),
                "judged": len(structures),
            }
            for name, (means, deviations) in estimates(model, known, structures).items():
                own[name] = quality(means - truth, deviations)
                errors.setdefault(name, []).append((means - truth, deviations))
            own["MAE of the prediction"] = float(np.abs(means - truth).mean())
            rows[f"{target} eV/atom"] = own
        rows["all"] = {
            name: quality(*(np.concatenate(part) for part in zip(*parts, strict=True)))
            for name, parts in errors.items()
        }
        report[surrogate] = rows
        print(surrogate, rows, flush=True)
        jax.clear_caches()
    return report


def labels(judge_name: str, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Errors of new structures for 1.9 eV/atom after rounds with different choices."""
    known = examples(judge_name, folder)
    report: dict[str, Any] = {}
    # Without drawn fingerprints the generator does not matter. The search goes near the energy.
    search = GenerateConfig().search.replace(hops=10, tolerance=0.005)
    making = GenerateConfig(sampled=False, search=search)
    generator = FitConfig(1, 8, 1e-2, 2, 50)
    learning = TrainConfig(surrogate="local_gpr", generator_fit=generator)
    for choice in ("first", "rigidity", "deviation"):
        place = folder / f"design-{choice}-{seed}"
        result = design(
            known,
            1.9,
            count,
            place,
            calculator=judge_name,
            rounds=3,
            labels=count,
            train_config=learning,
            generate_config=making,
            choose=choice,
            seed=seed,
        )
        rows = []
        for number, row in enumerate(result.rounds):
            model = load_model(place / f"round-{number}" / "model")
            check = place / f"check-{number}"
            structures = judged(model, 1.9, check, count, judge_name, 77, making)
            truth = np.array([atoms.info["e_form"] for atoms in structures])
            rows.append(
                {
                    "labels": row["labels"],
                    "MAE to 1.9": float(np.abs(truth - 1.9).mean()),
                    "hits": float(np.mean(np.abs(truth - 1.9) <= 0.1)),
                }
            )
        report[choice] = rows
        print(choice, rows, flush=True)
    return report


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", default="gpaw", metavar="NAME")
    parser.add_argument("--count", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    parser.add_argument("--only", choices=("windows", "labels"), action="append")
    arguments = parser.parse_args()
    folder = arguments.output / "worth"
    folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"versions": versions(), "device": device_name()}
    for name in arguments.only or ("windows", "labels"):
        run = windows if name == "windows" else labels
        report[name] = run(arguments.judge, folder, arguments.count, arguments.seed)
        write_json(arguments.output / "rigidity_worth.json", report)


if __name__ == "__main__":
    main()

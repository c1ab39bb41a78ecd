"""Structures of any composition that a model draws: perovskites, and crystals of all kinds.

    python benchmarks/generator.py --data DIR -o results --only perovskites crystals

perovskites  perov5_val (heats of formation). A third of it is set aside. The model, of the preset
             "universal", learns from the rest and makes structures: for heats drawn from the set,
             and for three wanted ones. What is reported of the latter is how many are within 0.1 eV
             an atom by a second Gaussian process that learned from the third set aside alone, and
             its own mean error.
clusters     Pt6 to Pt14 and clusters of 8 to 12 atoms of Pt with Cu or Ni, made and labelled by
             --calculator. Clusters are made for energies of which no cluster of as many atoms was
             learned within 0.15 eV an atom, and judged by the calculator as they are.
crystals     mp_3000 (2 to 20 atoms); the property is the volume of an atom in 10 Angstrom^3.

Printed, and written to RESULTS/generator.json: seconds a structure, accepted structures, new ones
(no structure of the whole set matches loosely), shortest distances. Each task writes its structures
to RESULTS/NAME.extxyz, for which crystal_measures.py has the measures of CDVAE (arXiv 2110.06197).
What is found is stored; the same command goes on where it was stopped.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import generator_clusters
import numpy as np

from jaxrecon.datasets.io import read_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.inverse_design.config import GenerateConfig, Wanted
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.inverse_design.generation import generate
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.examples import Examples
from jaxrecon.models.folder import load_model, save_model
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess
from jaxrecon.models.training import train
from jaxrecon.runtime.devices import use_all_cores
from jaxrecon.runtime.files import write_json
from jaxrecon.search.store import Store
from jaxrecon.structures.io import write_structures

TARGETS = (0.5, 1.5, 3.0)
"""Wanted heats of formation in eV/atom: rare, frequent and rare ones."""

NEAR = 0.1
"""Largest difference of a heat from the wanted one in eV/atom."""

ASIDE = 3
"""One structure of so many is set aside."""


def learned(folder: Path, labelled: LabelledSet, config: TrainConfig) -> DesignModel:
    """The model in the folder, which is trained where there is none yet."""
    if not folder.exists():
        save_model(train(labelled, config, progress=True), folder)
    return load_model(folder)


def independent(labelled: LabelledSet, model: DesignModel) -> tuple[GaussianProcess, float]:
    """A process that learned from a set of its own, and its mean error on a fifth of it."""
    assert labelled.structures is not None, "the sets have structures"
    fingerprint = model.fingerprint
    values, heats = featurize(labelled.structures, fingerprint), labelled.formation_energies
    held = np.arange(len(heats)) % 5 == 0
    examples = Examples.of(fingerprint, values[~held], heats[~held])
    error = np.abs(predicted(GaussianProcess.fit(examples), model, values[held]) - heats[held])
    return GaussianProcess.fit(Examples.of(fingerprint, values, heats)), float(error.mean())


def predicted(process: GaussianProcess, model: DesignModel, values: np.ndarray) -> np.ndarray:
    """What a process predicts for fingerprints."""
    return replace(model, surrogate=process).predict(values)[0]


def made(
    output: Path,
    name: str,
    model: DesignModel,
    wanted: Wanted,
    count: int,
    args: argparse.Namespace,
    **chosen: Any,
) -> Generated:
    """Structures for a wanted value, from the store of an earlier run where there is one.

    Elements and numbers of atoms may be chosen.
    """
    config = GenerateConfig()
    config = config.replace(search=config.search.replace(hops=args.hops), guided=not args.plain)
    start = time.perf_counter()
    found = generate(
        model,
        wanted,
        count,
        seed=args.seed,
        config=config,
        store=Store(output / f"{name}.db", resume=True),
        progress=True,
        **chosen,
    )
    write_structures(output / f"{name}.extxyz", list(found))
    seconds = (time.perf_counter() - start) / count
    print(f"{name}: {seconds:.1f} s a structure (with compilation)\n{found}", flush=True)
    return found


def numbers(found: Generated) -> dict[str, Any]:
    """What is reported of generated structures."""
    shortest = [atoms.info["shortest"] for atoms in found]
    accepted = [bool(atoms.info["accepted"]) for atoms in found]
    return {
        **found.summary,
        "accepted": float(np.mean(accepted)),
        "shortest_median": float(np.median(shortest)),
        "seconds": found.metadata["seconds"],
    }


def perovskites(args: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Heats of formation: what a process that knows none of the model's data says of them."""
    whole = read_labelled(args.data / "perov5_val.extxyz").with_property("heat_all")
    apart = np.arange(len(whole)) % ASIDE == 0
    model = learned(
        output / "perovskites.model",
        whole.select(np.flatnonzero(~apart)),
        TrainConfig.preset("universal").replace(seed=args.seed),
    )
    judge, error = independent(whole.select(np.flatnonzero(apart)), model)
    low, high = model.range
    results: dict[str, Any] = {"judge_mae": error, "mae": model.validation["mae"]}
    free = made(output, "perovskites", model, (low, high), args.count, args)
    results["any"] = numbers(free)
    for target in TARGETS:
        found = made(output, f"perovskites_{target}", model, target, args.each, args)
        values = predicted(judge, model, found.fingerprints)
        near = np.abs(values - target) <= NEAR
        accepted = np.asarray([atoms.info["accepted"] for atoms in found])
        results[str(target)] = {
            **numbers(found),
            "judged_near": float(near.mean()),
            "judged_near_of_accepted": float(near[accepted].mean()) if accepted.any() else None,
            "judged_mean_miss": float(np.abs(values - target).mean()),
        }
        print(results[str(target)], flush=True)
    return results


def crystals(args: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Crystals of 2 to 20 atoms of any elements."""
    whole = read_labelled(args.data / "mp_3000.extxyz")
    assert whole.structures is not None, "the set has structures"
    volumes = np.asarray([atoms.get_volume() / len(atoms) / 10.0 for atoms in whole.structures])
    labelled = LabelledSet.of(whole.structures, formation_energies=volumes)
    config = TrainConfig.preset("universal").replace(seed=args.seed)
    model = learned(output / "crystals.model", labelled, config)
    found = made(output, "crystals", model, model.range, args.count, args)
    return {"mae": model.validation["mae"], **numbers(found)}


def clusters(args: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Clusters of sizes and compositions that the model knows, for energies that it does not."""
    if args.calculator is None:
        raise SystemExit("expected --calculator to label clusters, got none")
    whole = generator_clusters.dataset(output, args.calculator, args.learned, args.seed)
    wanted, learnable = generator_clusters.asked(whole)
    config = TrainConfig.preset("universal").replace(seed=args.seed)
    model = learned(output / "clusters.model", whole.select(learnable), config)
    results = generator_clusters.hits(model, made, wanted, args)
    return {"structures": len(whole), "learned": len(learnable), **results}


TASKS = {"perovskites": perovskites, "crystals": crystals, "clusters": clusters}
"""The tasks by name."""


def main() -> None:
    """Do the tasks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    default = ["perovskites", "crystals"]  # clusters need a calculator
    parser.add_argument("--only", nargs="+", choices=TASKS, default=default)
    parser.add_argument("--count", type=int, default=1000, help="structures for any value")
    parser.add_argument("--each", type=int, default=100, help="structures for each wanted value")
    parser.add_argument("--calculator", metavar="NAME", help="labels and judges the clusters")
    parser.add_argument("--learned", type=int, default=75, help="clusters of each composition")
    parser.add_argument("--hops", type=int, default=20, help="largest number of hops")
    parser.add_argument("--plain", action="store_true", help="no guidance by the property")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
    args = parser.parse_args()
    use_all_cores()
    args.output.mkdir(parents=True, exist_ok=True)
    results = {"settings": {"count": args.count, "hops": args.hops, "seed": args.seed}}
    for name in args.only:
        results[name] = TASKS[name](args, args.output)
        write_json(args.output / "generator.json", results)
    print(results)


if __name__ == "__main__":
    main()

r"""How often structures that are made for an energy have it, as published and as it is done here.

    python benchmarks/design.py pt10.npz --judge sevennet -o results
    python benchmarks/design.py pt10.npz --judge gpaw --judged 20 --only default loop -o results
    python benchmarks/design.py pt10.npz --sizes 300 3000 --only fung2022 default -o results

For each variant, number of training rows and seed: a model is trained on the rows that are furthest
from each other by their fingerprints (as published), structures are made for each target, and a
judge says what energy the first of them have, without relaxation. SET is a file of labelled
structures, or the name of a set that comes with the package.

Variants:
    fung2022     as published: largest and smallest values, autoencoder of min-max scaled numbers,
                 network, and a search for the fingerprint alone.
    default      as it is done here.
    loop         default, after rounds in which the judge's energies are learned from.
    soap         default with the fingerprint `soap`.
    functions, max-min, plain, direct, network, no-rejection
                 default but for one thing: published functions; published pooling; search for the
                 fingerprint alone; search for the energy alone, without a generator; the other
                 surrogate; all samples taken as they are drawn.
    random       default, the rows to judge the surrogate by drawn at random, which leaks: frames
                 of one relaxation are nearly the same.

Prints tables, raw and screened, with the spread over the seeds; writes design.json and design.png.
All that was trained, made and judged is in folders beside them: the same command goes on where it
was stopped, and judges nothing twice.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from jaxrecon import Fingerprint, ReconstructConfig, featurize, use_all_cores
from jaxrecon.datasets import LabelledSet, load, read_labelled
from jaxrecon.datasets.sampling import furthest_points
from jaxrecon.inverse_design.closed_loop import design
from jaxrecon.inverse_design.config import GenerateConfig
from jaxrecon.inverse_design.evaluation import over_seeds, table1, table2, text
from jaxrecon.inverse_design.generation import generate
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.folder import load_model, save_model
from jaxrecon.models.training import train
from jaxrecon.plotting.canvas import save
from jaxrecon.plotting.design import HitBars, hit_bars
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore
from jaxrecon.runtime.devices import enable_compilation_cache
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.search.store import Store
from jaxrecon.structures.io import read_structures, write_structures


class Variant(NamedTuple):
    """How a model is trained, structures are made, and how often a judge is learned from."""

    learning: TrainConfig
    making: GenerateConfig
    rounds: int = 0


def variants(rounds: int) -> dict[str, Variant]:
    ours, usual = TrainConfig.preset("default"), GenerateConfig()
    published = GenerateConfig(guided=False, agree=None, search=ReconstructConfig.fung2022())
    return {
        "fung2022": Variant(TrainConfig.preset("fung2022"), published),
        "default": Variant(ours, usual),
        "loop": Variant(ours, usual, rounds),
        "soap": Variant(ours.replace(fingerprint="soap"), usual),
        "functions": Variant(ours.replace(fingerprint="fung2022"), usual),
        "max-min": Variant(ours.replace(poolings=("max", "min")), usual),
        "plain": Variant(ours, usual.replace(guided=False)),
        "direct": Variant(ours, usual.replace(sampled=False)),
        "network": Variant(ours.replace(surrogate="network"), usual),
        "no-rejection": Variant(ours, usual.replace(agree=None)),
        "random": Variant(ours.replace(split="random"), usual),
    }


class Task(NamedTuple):
    """What is asked of every variant."""

    targets: Sequence[float]
    count: int
    judged: int
    judge: str
    labels: int
    jobs: int | None
    samples: int


def one(folder: Path, rows: LabelledSet, variant: Variant, seed: int, task: Task) -> dict[str, Any]:
    """Everything about one variant, size and seed; what is in the folder is not done again."""
    path = folder / "numbers.json"
    if path.exists():
        return json.loads(path.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    learning = variant.learning.replace(seed=seed)
    started = time.perf_counter()
    if not (folder / "model").exists():
        model = train(rows, learning, folder=folder / "training", progress=True)
        save_model(model, folder / "model")
    model = load_model(folder / "model")
    numbers: dict[str, Any] = {
        "validation": model.validation,
        "seconds_training": time.perf_counter() - started,
        "table1": table1(model, samples=task.samples, seed=seed, agree=variant.making.agree),
        "made": {},
        "loops": {},
    }
    judged: list[Atoms] = []
    for target in task.targets:
        place = folder / f"target-{target:g}"
        place.mkdir(exist_ok=True)
        own, learned = numbers["made"], model
        if variant.rounds:
            found = design(
                rows,
                target,
                1,
                place / "loop",
                calculator=task.judge,
                rounds=variant.rounds,
                labels=task.labels,
                train_config=learning,
                generate_config=variant.making,
                jobs=task.jobs,
                seed=seed,
                progress=True,
            )
            numbers["loops"][f"{target:g}"], learned = found.rounds, found.model
        made = made_for(place, learned, target, variant, seed, task)
        own[f"{target:g}"] = json.loads((place / "made.json").read_text())
        store = LabelStore(place / "judged.db", resume=True)
        some = made[: task.judged]
        judged += judge(some, task.judge, jobs=task.jobs, store=store, progress=True)
    write_structures(folder / "judged.extxyz", judged)
    numbers["table2"] = table2(judged)
    write_json(path, numbers)
    return json.loads(path.read_text())


def made_for(
    place: Path, model: DesignModel, target: float, variant: Variant, seed: int, task: Task
) -> list[Atoms]:
    path = place / "made.extxyz"
    if not path.exists():
        store = Store(place / "made.db", resume=True)
        made = generate(
            model, target, task.count, seed=seed, config=variant.making, store=store, progress=True
        )
        write_json(place / "made.json", made.to_dict())
        write_structures(path, list(made))
    return read_structures(path)


def report(name: str, size: int, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and spreads over the seeds, printed."""
    within = over_seeds([each["table2"] for each in found])
    generated = over_seeds([each["table1"] for each in found])
    over_targets = {
        kind: [row["within"] for row in generated if row["fingerprints"] == kind]
        for kind in ("drawn", "taken")
    }
    errors = [each["validation"]["mae"] for each in found]
    seconds = [made["seconds"] for each in found for made in each["made"].values()]
    print(f"\n{name}, {size} rows: energies by the judge\n{text(within)}")
    print(f"fingerprints by the surrogate\n{text(generated)}")
    means = [f"{kind} {np.mean(each):.3f}" for kind, each in over_targets.items() if each]
    print(f"mean over the targets: {', '.join(means)}")
    for kind in ("raw", "screened"):
        told = {
            word: [
                made[kind][word]
                for each in found
                for made in each["made"].values()
                if made[kind][word] is not None
            ]
            for word in ("within", "unique", "novel", "diversity")
        }
        means = [f"{word} {np.mean(each):.3f}" for word, each in told.items() if each]
        print(f"{kind}: {', '.join(means)}")
    print(f"surrogate: mean absolute error {np.mean(errors):.4f} +- {np.std(errors):.4f} eV/atom")
    print(f"{np.mean(seconds):.0f} s to make the structures of a target", flush=True)
    return {
        "variant": name,
        "rows": size,
        "hits": within,
        "table1": generated,
        "surrogate_mae": errors,
        "seconds": seconds,
        "seeds": found,
    }


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("set", metavar="SET")
    parser.add_argument("--sizes", type=int, nargs="+", default=[300], help="training rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--targets", type=float, nargs="+", default=[1.9, 2.8, 3.7])
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="some of the variants")
    parser.add_argument("--count", type=int, default=100, help="structures to make a target")
    parser.add_argument("--judged", type=int, default=100, help="of these, how many are judged")
    parser.add_argument("--judge", default="emt", metavar="NAME", help="calculator")
    parser.add_argument("--rounds", type=int, default=2, help="of the loop")
    parser.add_argument("--labels", type=int, default=20, help="made and judged in each round")
    parser.add_argument("--samples", type=int, default=1000, help="fingerprints a target")
    parser.add_argument("--hops", type=int, help="of the search, where it is guided")
    parser.add_argument("--jobs", type=int, help="processes that judge")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    arguments = arguments_of(words)
    output, every = arguments.output, variants(arguments.rounds)
    names = arguments.only or list(every)
    if unknown := sorted(set(names) - set(every)):
        raise SystemExit(f"expected variants among {list(every)}, got {unknown}")
    use_all_cores()
    enable_compilation_cache()
    known = Path(arguments.set)
    whole = read_labelled(known) if known.exists() else load(arguments.set)
    assert whole.structures is not None, "a judge needs structures"
    elements = sorted(set(whole.structures[0].symbols))
    values = featurize(whole.structures, Fingerprint.preset("default", elements))
    order = furthest_points(values, min(max(arguments.sizes), len(whole)))
    task = Task(
        targets=arguments.targets,
        count=arguments.count,
        judged=arguments.judged,
        judge=arguments.judge,
        labels=arguments.labels,
        jobs=arguments.jobs,
        samples=arguments.samples,
    )
    settings = {**task._asdict(), "set": arguments.set, "rows": len(whole)}
    results: list[dict[str, Any]] = []
    bars: dict[str, Any] = {}
    for size in arguments.sizes:
        rows = whole.select(order[:size])
        for name in names:
            variant = every[name]
            if arguments.hops is not None and variant.making.guided:
                search = variant.making.search.replace(hops=arguments.hops)
                variant = variant._replace(making=variant.making.replace(search=search))
            found = []
            for seed in arguments.seeds:
                place = output / f"{name}-{len(rows)}-{seed}"
                found.append(one(place, rows, variant, seed, task))
            results.append(report(name, len(rows), found))
            for kind in ("raw", "screened"):
                own = [row for row in results[-1]["hits"] if row["structures"] == kind]
                bars[f"{name}, {len(rows)}, {kind}"] = own
            command = [Path(sys.argv[0]).name, *sys.argv[1:]]
            about = {"command": command, "settings": settings, "versions": versions()}
            write_json(output / "design.json", {**about, "results": results})
    figure = hit_bars(HitBars(bars, title=f"within 0.1 eV/atom, by {task.judge}"))
    save(figure, output / "design.png")
    print(f"wrote {output / 'design.json'} and {output / 'design.png'}")


if __name__ == "__main__":
    main()

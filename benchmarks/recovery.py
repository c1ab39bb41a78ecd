r"""How many structures come back exactly from their fingerprints, at what cost.

    python benchmarks/recovery.py prototypes -o results
    python benchmarks/recovery.py pt10_fps300 --data DIR --rows 0-29 -o results
    python benchmarks/recovery.py mp_200 --data DIR --fingerprint universal --cell unknown \
        --elements unknown --targets 60 --budget 4e5 -o results
    python benchmarks/recovery.py qm7_500 --data DIR --budget 1e6 --ablate 'moves={"swap":0}' -o out

Sets:
    prototypes    the twelve structures of figures 4 and 5 of Fung et al. (arXiv 2207.13227): six
                  free ones, six crystals.
    pt10_fps300   published fingerprints of Pt10 clusters (github.com/Fung-Lab/StructRepGen); no
                  structures are published with them.
    pt10_pbe1000  Pt10 clusters with PBE energies (github.com/vxfung/MatDeepLearn); 60 rows.
    qm7_500       organic molecules of 6 to 22 atoms (QM7); 100 rows.
    qm7_dscribe   the same, their average SOAP vectors computed by DScribe and read from .npy files.
    perov5_200    cubic perovskites of 56 elements (Perov-5).
    mp_200        crystals of 2 to 20 atoms and 81 elements (Materials Project).
    carbon24_val  carbon crystals of 6 to 16 atoms at 10 GPa (Carbon-24); 60 rows of 1,941.
    clusters      compact Pt and Cu clusters of 13, 20, 38 and 55 atoms, made here.
    hydrocarbons  and alcohols of 20 to 30 atoms, made here with RDKit (pip install rdkit).
The files are in DIR. Free structures have the fingerprint default, crystals crystal, with all
periodic images; each with channels for its own elements only. Composition and cell are known unless
told otherwise.

A target is *certified* if the residual, computed in float64, is at most 1e-6, and *matched* if the
structure is the one behind it: jaxrecon/structures/compare.py says how that is decided. A *budget*
is in loss-and-gradient evaluations a target: what a hop costs in them is measured first. Medians
and curves of the work and the time are of all targets; a target that is not solved counts as never.
The time of a target is that of its search, without what JAX took to trace and compile meanwhile.

Prints tables; writes SET.json and SET.extxyz, what was found, after every target, SET_curves.png,
the part solved against work and time, and for prototypes a picture, truth beside reconstruction.

The environment variable TF_CPP_MIN_LOG_LEVEL=3 hides what XLA logs of programs that were compiled
before.

The peer is the original PyTorch program: 1 of 10 published fingerprints at 1e-4 and none at 1e-6,
in 25 s each, on the same kind of machine.
"""

import argparse
import importlib.metadata
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import costs
import jax
import recovery_report as reports
from costs import Costs
from recovery_report import Trial
from recovery_search import by_row, searched
from recovery_sets import SETS, Target, targets_of
from recovery_settings import UNCHANGED, Variant, config_of, variants_of
from timing import device_name

from jaxrecon import ReconstructConfig, use_all_cores
from jaxrecon.plotting.canvas import save
from jaxrecon.plotting.reconstructions import Pair, SideBySide, side_by_side
from jaxrecon.plotting.runs import SuccessCurves, success_curves
from jaxrecon.runtime.devices import enable_compilation_cache
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.io import write_structures


def budgeted(
    config: ReconstructConfig, costs_of: dict[str, Costs], budget: float | None
) -> dict[str, ReconstructConfig]:
    """The settings for each kind of target, with the hops that the budget pays for."""
    resolved = {
        kind: config.resolved(smooth=cost.details["smooth"]) for kind, cost in costs_of.items()
    }
    if budget is None:
        return resolved
    return {
        kind: own.replace(hops=costs_of[kind].hops(budget, own)) for kind, own in resolved.items()
    }


def costs_by_kind(
    targets: Sequence[Target], config: ReconstructConfig, seconds: float
) -> dict[str, Costs]:
    """Measured for one target of each kind, the one in the middle; printed."""
    found = {}
    for kind in dict.fromkeys(target.kind for target in targets):
        some = [target for target in targets if target.kind == kind]
        one = costs.representative(some)
        own = config.resolved(smooth=costs.is_smooth(one))
        found[kind] = cost = costs.measured(one, own, len(some), seconds)
        print(
            f"{kind}: as measured for {one.name} ({len(one.symbols)} atoms, "
            f"{one.fingerprint.size} numbers), {cost.details['at_once']} at once on "
            f"{cost.details['devices']} devices, in loss-and-gradient evaluations a value costs "
            f"{cost.weights['values']:.2f}, a Levenberg-Marquardt step "
            f"{cost.weights['jacobians']:.2f}, a hop {cost.of(own.evaluations_per_hop):,.0f}",
            flush=True,
        )
    return found


def recover(
    name: str,
    load: Callable[[str | None], list[Target]],
    variants: dict[str, Variant],
    *,
    budget: float | None,
    seed: int,
    seconds: float,
    output: Path,
    composition_known: bool = True,
) -> dict[str, list[Trial]]:
    """Try all variants on the same targets; everything is written down after every target.

    Args:
        name: of the set.
        load: its targets, by the preset of the fingerprint.
        variants: by name.
        budget: loss-and-gradient evaluations a target; None for the hops of the settings.
        seed: of the search.
        seconds: to measure each cost.
        output: folder for the files.
        composition_known: whether the search is told it.
    """
    report: dict[str, Any] = {
        "set": name,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "budget": budget,
        "device": f"{jax.local_device_count()} x {device_name()}",
        "costs": {},
        "variants": {},
        "versions": {**versions(), "pymatgen": importlib.metadata.version("pymatgen")},
    }
    done: dict[str, list[Trial]] = {}
    known: dict[str | None, tuple[list[Target], dict[str, Costs]]] = {}
    for label, (preset, config) in variants.items():
        if preset not in known:
            targets = load(preset)
            known[preset] = (targets, costs_by_kind(targets, config, seconds))
        targets, costs_of = known[preset]
        configs = budgeted(config, costs_of, budget)
        hops = {kind: each.hops for kind, each in configs.items()}
        report["rows"] = [target.row for target in targets]
        report["costs"][preset or "preset of the set"] = {
            kind: {"weights": cost.weights, **cost.details} for kind, cost in costs_of.items()
        }
        settings = {"fingerprint": preset, "config": config.to_dict(), "hops": hops}
        print(f"{name}, {label}: {len(targets)} targets, hops at most {hops}", flush=True)
        started = time.perf_counter()
        keep = partial(write, output / name, report, label, settings)
        done[label] = searched(
            targets, configs, costs_of, seed, keep, composition_known=composition_known
        )
        print(reports.text(done[label]))
        print(f"{time.perf_counter() - started:.1f} s of wall time", flush=True)
    return done


def write(
    stem: Path, report: dict[str, Any], label: str, settings: dict[str, Any], trials: list[Trial]
) -> None:
    """Write down all that is known when a target has ended."""
    trials = by_row(trials)
    report["variants"][label] = {**settings, **reports.to_dict(trials)}
    write_json(stem.with_suffix(".json"), report)
    if label != UNCHANGED:
        return
    structures = []
    for trial in trials:
        atoms = trial.result.atoms.copy()
        atoms.info = {"row": trial.target.row, "residual": trial.result.residual}
        structures.append(atoms)
    write_structures(stem.with_suffix(".extxyz"), structures)


def picture_of(trials: list[Trial], path: Path) -> None:
    """Truth beside reconstruction."""
    pairs = [
        Pair(
            trial.target.name,
            trial.target.truth,
            trial.result.atoms,
            trial.result.residual,
            trial.match.rmsd,
        )
        for trial in trials
        if trial.target.truth is not None and trial.match is not None
    ]
    save(side_by_side(SideBySide(pairs)), path)


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the files")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rows", help="targets, like 0-29 or 3,7")
    which.add_argument("--targets", type=int, metavar="K", help="so many evenly spaced rows")
    parser.add_argument("--budget", type=float, metavar="EVALS", help="evaluations a target")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument(
        "--fingerprint",
        metavar="NAME",
        help="preset for all targets, also with changes, like soap,n_max=4,poolings=mean",
    )
    parser.add_argument("--cell", choices=("known", "unknown"), default="known", help="of crystals")
    parser.add_argument(
        "--elements",
        choices=("known", "unknown"),
        default="known",
        help="unknown: the number of atoms alone, and elements as the fingerprint has channels; "
        "nothing at all where it is universal: numbers of atoms then share the budget",
    )
    parser.add_argument("--config", metavar="NAME|FILE.json", help="settings of the search")
    repeated: dict[str, Any] = {"default": [], "metavar": "NAME=VALUE"}
    parser.add_argument("--set", dest="settings", nargs="+", action="extend", **repeated)
    parser.add_argument(
        "--ablate", action="append", **repeated, help="do it all again with this change"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="to measure each cost")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    return parser.parse_args(words)


def main() -> None:
    arguments = arguments_of()
    arguments.output.mkdir(parents=True, exist_ok=True)
    use_all_cores()
    enable_compilation_cache()
    config = config_of(arguments.config, arguments.settings)

    def load(preset: str | None) -> list[Target]:
        return targets_of(
            arguments.set,
            arguments.data,
            preset=preset,
            rows=arguments.rows,
            count=arguments.targets,
            cell_known=arguments.cell == "known",
        )

    done = recover(
        arguments.set,
        load,
        variants_of(arguments.fingerprint, config, arguments.ablate),
        budget=arguments.budget,
        seed=arguments.seed,
        seconds=arguments.seconds,
        output=arguments.output,
        composition_known=arguments.elements == "known",
    )
    several = len(done) > 1
    if several:
        print("\n" + reports.comparison(done))
    curves = [
        curve
        for name, trials in done.items()
        for curve in reports.curves(trials, name if several else "")[:2]
    ]
    ends = [".json", ".extxyz", "_curves.png"]
    figure = success_curves(SuccessCurves(curves, title=arguments.set))
    save(figure, arguments.output / f"{arguments.set}_curves.png")
    if arguments.set == "prototypes":
        ends.append(".png")
        picture_of(done[UNCHANGED], arguments.output / "prototypes.png")
    print("wrote " + ", ".join(str(arguments.output / f"{arguments.set}{end}") for end in ends))


if __name__ == "__main__":
    main()

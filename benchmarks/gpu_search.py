"""Sections of the GPU benchmark: searches in a given time, and how exact float32 is there."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import costs
import jax
import jax.numpy as jnp
import numpy as np
from compilations import Compilations
from gpu_run import Run, peak_memory, short
from recovery_report import CERTIFIED
from recovery_search import Watch
from recovery_sets import targets_of
from systems import System, perovskites, random_atoms, system_of

from jaxrecon import ReconstructConfig, Structure, reconstruct
from jaxrecon.search.gauss_newton import normal_equations
from jaxrecon.search.levenberg_marquardt import levenberg_marquardt, refine
from jaxrecon.search.results import Result

FLOOR = 1e-6
"""Residual that a known structure must reach in float32."""

ROUNDED = 2e-5
"""Largest error of float32, relative to the largest number; TF32 makes errors of 3e-4."""

NOISE = 0.02
"""Standard deviation in Angstrom of the noise that polishing has to undo."""

OFTEN = 5.0
"""Seconds after which the figures of a search are written again."""

POLISHING = 60
"""Levenberg-Marquardt steps that polish a structure."""


class TimeUpError(Exception):
    """A search has used its time."""


class Clock:
    """Follows a search: where its time goes, and when it is up.

    Attributes:
        programs: seconds in the programs that make the hops.
        rest: seconds between them: polishing, results, preparation of the next hop.
        hops: hops of single targets.

    Args:
        limit: seconds of the search, without those to compile.
        ends: when it must end, of `time.perf_counter`.
        write: called every few seconds.
    """

    def __init__(self, limit: float, ends: float, write: Callable[[], None]) -> None:
        self.compilations = Compilations()
        self.began = self.since = time.perf_counter()
        self.limit, self.ends, self.write = limit, ends, write
        self.written = self.began
        self.programs = self.rest = 0.0
        self.updating = False
        self.hops = 0

    @property
    def compiling(self) -> float:
        """Seconds in which programs were traced and compiled."""
        return self.compilations.within(self.began, time.perf_counter())

    def watch(self, _: int, __: np.ndarray) -> None:
        """Called for each target when a hop of all has ended."""
        if not self.updating:
            self.programs += self._spent()
            self.updating = True

    def report(self, _: int, evaluations: int) -> None:
        """Called for each target when all have been updated after a hop."""
        self.rest += self._spent()
        self.updating = False
        self.hops += evaluations > 0
        now = time.perf_counter()
        if now - self.written > OFTEN:
            self.written = now
            self.write()
        if now - self.began - self.compiling > self.limit or now > self.ends:
            raise TimeUpError

    def _spent(self) -> float:
        """Seconds since the last call, without those to compile."""
        since, self.since = self.since, time.perf_counter()
        return self.since - since - self.compilations.within(since, self.since)


def search(run: Run, found: dict[str, Any], name: str) -> None:
    """Search for the targets of a set, all at once, until the time is up.

    Raises:
        ValueError: if the folder of the published data is not named.
    """
    targets = targets_of(name, run.data, preset=None, rows=None, count=run.sizes.targets or 10**9)
    one = costs.representative(targets)
    config = ReconstructConfig(replicas=0 if run.sizes.targets is None else run.sizes.replicas)
    config = config.resolved(smooth=costs.is_smooth(one))
    cost = costs.measured(one, config, len(targets), run.sizes.seconds)
    per_second = cost.details["per_second"]
    run.say(
        f"  {len(targets)} targets; bare, {cost.details['at_once']} at once: "
        + ", ".join(f"{row} {rate:,.0f} /s" for row, rate in per_second.items())
    )
    certified: list[float] = []

    def ended(_: int, result: Result, seconds: float) -> None:
        if result.residual <= CERTIFIED:
            certified.append(seconds)

    def write() -> None:
        found.update(figures_of(clock, config, cost, len(targets), len(certified)))
        run.save()

    clock = Clock(run.sizes.search_seconds, time.perf_counter() + run.left, write)
    try:
        reconstruct(
            [target.values for target in targets],
            [target.fingerprint for target in targets],
            symbols=[target.symbols for target in targets],
            cell=[target.cell for target in targets],
            config=config,
            indices=[target.row for target in targets],
            store=Watch(ended, clock.compilations),
            progress=clock.report,
            watch=clock.watch,
        )
    except TimeUpError:
        found["stopped"] = "time is up"
    write()
    run.say(
        f"  {len(certified)} of {len(targets)} certified; {clock.programs:.1f} s in programs, "
        f"{clock.rest:.1f} s between, {clock.compiling:.1f} s to compile; "
        f"{found['evaluations_per_target']:,.0f} evaluations a target, "
        f"{found['per_second']:,.0f} /s, {100 * found['of_bare']:.1f} % of the bare kernel "
        f"({100 * found['of_bare_in_programs']:.1f} % within programs)"
    )


def figures_of(
    clock: Clock, config: ReconstructConfig, cost: costs.Costs, targets: int, certified: int
) -> dict[str, Any]:
    """What a search has done so far, and at which rate.

    Evaluations of each kind count as much as they cost, in loss-and-gradient evaluations.
    """
    work = {kind: clock.hops * count for kind, count in config.evaluations_per_hop.items()}
    equivalent, bare = cost.of(work), cost.details["per_second"][costs.GRADIENT]
    searching, within = max(clock.programs + clock.rest, 1e-9), max(clock.programs, 1e-9)
    return {
        "targets": targets,
        "certified": certified,
        "hops": clock.hops,
        "evaluations": work,
        "equivalent_evaluations": equivalent,
        "evaluations_per_target": equivalent / targets,
        "seconds_in_programs": clock.programs,
        "seconds_between": clock.rest,
        "seconds_compiling": clock.compiling,
        "per_second": equivalent / searching,
        "of_bare": equivalent / searching / bare,
        "of_bare_in_programs": equivalent / within / bare,
        "bare": dict(cost.details),
        "peak_bytes_of_process": peak_memory(),
    }


def precision(run: Run, found: dict[str, Any]) -> None:
    """Errors of float32 against float64, and the residual that polishing in float32 reaches."""
    every = {
        preset: system_of(preset, preset, atoms, 1)
        for preset, atoms in (
            ("fung2022", random_atoms("Pt10", 8.0)),
            ("default", random_atoms("C4H9NO2", 5.5)),
            ("crystal", perovskites()),
            ("soap", random_atoms("Pt10", 8.0)),
        )
        if preset in run.sizes.presets
    }
    jobs = [
        ((preset, what), partial(lower, one, run.sizes.starts))
        for preset, one in every.items()
        for what, lower in (("float32", _lowered), ("float64", _lowered64), ("polish", _polishing))
    ]
    programs = dict(run.compiled(jobs))
    for preset, one in every.items():
        row = found[preset] = {}
        try:
            row.update(exactness(one, programs, run.sizes.starts))
        except Exception as error:
            row["error"] = short(error)
            run.say(f"  {preset:10} {row['error']}")
            continue
        run.say(
            f"  {preset:10} errors of float32: values {row['error_of_values']:.1e}, Jacobian "
            f"{row['error_of_jacobian']:.1e}; polished residual at least "
            f"{row['least_residual']:.1e}, median {row['median_residual']:.1e}: "
            + ("PASS" if row["pass"] else "not met")
        )
    failed = [preset for preset, row in found.items() if "error" in row]
    if failed:
        found["error"] = f"failed: {', '.join(failed)}"


def exactness(one: System, programs: dict[Any, Any], starts: int) -> dict[str, Any]:
    """Errors of float32, and residuals of structures polished from near the target."""
    value, jacobian = _call(programs[one.name, "float32"], one, np.float32)
    with jax.enable_x64(True):
        exact, exact_jacobian = _call(programs[one.name, "float64"], one, np.float64)
    true = np.asarray(one.structures.positions[-1])
    noise = np.random.default_rng(0).normal(0.0, NOISE, (starts, *true.shape))
    _, program = _checked(programs[one.name, "polish"])
    residuals = np.asarray(program(jnp.asarray(true + noise, jnp.float32)))
    errors = relative(value, exact), relative(jacobian, exact_jacobian)
    return {
        "error_of_values": errors[0],
        "error_of_jacobian": errors[1],
        "least_residual": float(residuals.min()),
        "median_residual": float(np.median(residuals)),
        "pass": bool(max(errors) <= ROUNDED and residuals.min() <= FLOOR),
    }


def relative(value: np.ndarray, exact: np.ndarray) -> float:
    """The largest difference in units of the largest number."""
    return float(np.abs(value - exact).max() / np.abs(exact).max())


def _first(one: System, dtype: Any) -> Structure:
    """The first structure in this precision."""
    return jax.tree.map(
        lambda leaf: np.asarray(leaf[0], dtype if leaf.dtype.kind == "f" else leaf.dtype),
        jax.device_get(one.structures),
    )


def _lowered(one: System, _: int) -> Any:
    return jax.jit(one.fingerprint.with_jacobian).lower(_first(one, np.float32))


def _lowered64(one: System, _: int) -> Any:
    with jax.enable_x64(True):
        return jax.jit(one.fingerprint.with_jacobian).lower(_first(one, np.float64))


def _polishing(one: System, starts: int) -> Any:
    """The program that descends from noise to the target, which is the last structure."""
    template = jax.tree.map(lambda leaf: leaf[-1], one.structures)

    def model(x: jax.Array) -> Any:
        structure = Structure(
            x, template.species, template.mask, template.cell, template.pbc, template.bounds
        )
        return normal_equations(one.fingerprint, structure, one.target)

    def polished(x: jax.Array) -> jax.Array:
        return refine(levenberg_marquardt(model, max_step=0.3), x, steps=POLISHING)[1]

    shape = (starts, *template.positions.shape)
    return jax.jit(jax.vmap(polished)).lower(jax.ShapeDtypeStruct(shape, "f4"))


def _call(outcome: Any, one: System, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values and Jacobian of the first structure."""
    _, program = _checked(outcome)
    value, jacobian = program(_first(one, dtype))
    return np.asarray(value, np.float64), np.asarray(jacobian, np.float64)


def _checked(outcome: Any) -> Any:
    """Seconds to compile and the program, or its error raised."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome

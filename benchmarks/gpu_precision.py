"""Section of the GPU benchmark: how exact float32 is there, and how far a descent gets in it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gpu_run import Run, short
from systems import System, perovskite, random_atoms, rattled, system_of

from jaxrecon import Structure
from jaxrecon.search.gauss_newton import normal_equations
from jaxrecon.search.levenberg_marquardt import levenberg_marquardt, refine

FLOOR = 1e-6
"""Residual that a known structure must reach in float32."""

ROUNDED = 2e-5
"""Largest error of float32, relative to the largest number; TF32 makes errors of 3e-4."""

NOISE = 0.02
"""Standard deviation in Angstrom of the noise that polishing has to undo."""

POLISHING = 60
"""Levenberg-Marquardt steps that polish a structure."""


def precision(run: Run, found: dict[str, Any]) -> None:
    """Errors of float32 against float64, and the residual that polishing in float32 reaches."""
    every = {
        preset: system_of(preset, preset, atoms, 1)
        for preset, atoms in (
            ("fung2022", random_atoms("Pt10", 8.0)),
            ("default", random_atoms("C4H9NO2", 5.5)),
            ("crystal", rattled(perovskite())),
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

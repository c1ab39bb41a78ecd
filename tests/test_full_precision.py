"""Every matrix product asks for full precision: many GPUs round the factors of others (TF32).

The same programs are traced without promotion of types of numbers, which a user may forbid.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from jax.sharding import Mesh
from learning import CONFIGS, labelled
from products import lines_of, rounded

from jaxrecon import Fingerprint, ReconstructConfig, Structure, batch, generate, train
from jaxrecon.numerics import product
from jaxrecon.search.arguments import UNKNOWN, problems_of
from jaxrecon.search.compiled import REPLICAS, TARGETS, Population, compiled_hop
from jaxrecon.search.gauss_newton import attribution, bound_equations, normal_equations
from jaxrecon.search.levenberg_marquardt import levenberg_marquardt, refine
from jaxrecon.search.moves import move_weights
from jaxrecon.search.objectives import mean_absolute_residual

pytestmark = pytest.mark.usefixtures("strict_types")


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.6)


CASES: dict[str, tuple[str, Atoms, dict[str, Any]]] = {
    "fung2022": ("fung2022", molecule("H2O"), {}),
    "minimum images": ("fung2022", salt() * (2, 2, 2), {}),
    "default": ("default", molecule("CH3OH"), {}),
    "crystal": ("crystal", salt(), {"r_cut": 4.0}),
    "soap": ("soap", molecule("H2O"), {}),
    "soap, crystal": ("soap", salt(), {"r_cut": 4.0}),
    "poolings": (
        "default",
        molecule("H2O"),
        {"poolings": ("mean", "moment3", "smooth_max", "sorted"), "max_atoms": 3},
    ),
}
WHAT = ("gradient", "Jacobian", "attribution", "descent", "polish")


@lru_cache
def prepared(case: str) -> tuple[Fingerprint, Structure]:
    preset, atoms, settings = CASES[case]
    fingerprint = Fingerprint.preset(preset, sorted(set(atoms.symbols)), **settings)
    structures = batch([atoms], fingerprint)
    return fingerprint, jax.tree.map(lambda leaf: leaf[0], structures)


def program(case: str, what: str) -> str:
    """The text of a program, for several structures at once as in a search."""
    fingerprint, structure = prepared(case)
    target = jnp.zeros(fingerprint.size)

    def at(positions: jax.Array) -> Structure:
        return replace(structure, positions=positions)

    def refined(equations: Any, positions: jax.Array) -> Any:
        model = levenberg_marquardt(lambda x: equations(fingerprint, at(x), target), max_step=1.0)
        return refine(model, positions, steps=2)

    functions = {
        "gradient": jax.value_and_grad(
            lambda x: mean_absolute_residual(fingerprint(at(x)), target)
        ),
        "Jacobian": lambda x: fingerprint.with_jacobian(at(x)),
        "attribution": lambda x: attribution(fingerprint, at(x), target),
        "descent": lambda x: refined(normal_equations, x),
        "polish": lambda x: refined(bound_equations, x),
    }
    shape = jax.ShapeDtypeStruct((2, *structure.positions.shape), "f4")
    return jax.jit(jax.vmap(functions[what])).lower(shape).as_text()


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("case", CASES)
def test_products_of_fingerprints_and_descents(case: str, what: str) -> None:
    text = program(case, what)
    assert not rounded(text)
    if what in ("descent", "polish"):
        assert lines_of(text)


@pytest.mark.parametrize("cell", ["known", "unknown"])
def test_products_of_a_hop(cell: str) -> None:
    """Starts, moves, inversions, contacts, Adam and the descent, of several targets at once."""
    fingerprint = Fingerprint.preset("crystal", ["Na", "Cl"], r_cut=4.0)
    config = ReconstructConfig(replicas=2, adam_steps=1, refine_steps=1, min_distance=0.3)
    cells = [salt().cell.array if cell == "known" else UNKNOWN]
    targets = [np.ones(fingerprint.size)]
    [[problem]] = problems_of(targets, [fingerprint], [("Na", "Cl")], cells, None, [0])
    tasks = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), problem.task(np.float32))
    populations = Population(
        jnp.zeros((2, 2, problem.rows, 3)), jnp.ones((2, 2)), jnp.zeros(2, int)
    )
    mesh = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), (TARGETS, REPLICAS))
    program = compiled_hop(problem.searched_fingerprint, config.compiled, mesh, None)
    keys = jax.random.split(jax.random.key(0), 2)
    arrays = (keys, tasks, populations, None, move_weights(config))
    text = jax.jit(lambda: program(*arrays)).lower().as_text()
    assert len(lines_of(text)) > 10
    assert not rounded(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_products_of_models(name: str, tmp_path: Path) -> None:
    """Training, drawing, a search that a model guides, and predictions."""
    # No other test has so many examples: all programs are made here.
    jax.config.update("jax_dump_ir_to", str(tmp_path))
    try:
        model = train(labelled(57), CONFIGS[name])
        model.sample(2.7, count=2)
        if name == "default":
            search = ReconstructConfig(hops=1, replicas=2, refine_steps=1, polish_steps=1)
            generate(model, 3.0, 2, search=search)
    finally:
        jax.config.update("jax_dump_ir_to", "")
    programs = [path.read_text() for path in tmp_path.glob("*.mlir")]
    assert sum(len(lines_of(program)) for program in programs) > 20
    assert not [line for program in programs for line in rounded(program)]
    rows = jnp.ones((2, model.fingerprint.size))

    def predicted(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda x: model.surrogate(x)[0])(row)

    text = jax.jit(jax.vmap(predicted)).lower(rows).as_text()
    assert lines_of(text)
    assert not rounded(text)


def test_rounded_products_are_found() -> None:
    matrix = jnp.ones((3, 3))
    for function, count in [(product, 0), (jnp.matmul, 1), (jnp.dot, 1)]:
        text = jax.jit(function).lower(matrix, matrix).as_text()
        assert (len(rounded(text)), len(lines_of(text))) == (count, 1)

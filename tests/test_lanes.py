"""Functions over lanes: wider under vmap, in blocks, and always those that they were."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import lanes
from jaxrecon.lanes import over_lanes

LANES = 3
Function = Callable[[jax.Array, jax.Array], tuple[jax.Array, ...]]


def plain(a: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
    """Of ``(4, lanes)`` and ``(2, 4, lanes)`` to shapes of their own; no lane sees another."""
    weighted = jnp.sum(jnp.sin(a)[None] * b, axis=1)
    return weighted, jnp.exp(-(a**2))[:, None] * b[0][None], b[1] / (1.0 + a**2)


def arrays(*batch: int, a: bool = True, b: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The arguments, those named with axes of a batch in front."""
    rng = np.random.default_rng(0)
    shapes = ((*batch * a, 4, LANES), (*batch * b, 2, 4, LANES))
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def assert_same(ours: object, theirs: object, rtol: float = 1e-5) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-6)


@pytest.fixture(params=["at once", "in blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it goes block after block, which leaves lanes to spare: of 5 few numbers here are a
    multiple."""
    if request.param == "in blocks":
        monkeypatch.setattr(lanes, "FEWEST", 5)
        monkeypatch.setattr(lanes, "INPUT_OF_BLOCK", 1)
    return request.param == "in blocks"


def steps(function: Function, a: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
    """A scan whose step calls it, on numbers that the step before has made."""

    def step(carry: jax.Array, each: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second, third = function(carry, each)
        return carry + 0.1 * third, first[0] + second.sum(axis=(0, 1))

    return jax.lax.scan(step, a, b)


def mapped(function: Function, a: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
    return jax.lax.map(lambda each: function(*each), (a, b), batch_size=3)


TRANSFORMED: dict[str, tuple[Callable[[Function], Callable], tuple[np.ndarray, np.ndarray]]] = {
    "single": (lambda f: f, arrays()),
    "vmap": (jax.vmap, arrays(7)),
    "first alone": (lambda f: jax.vmap(f, (0, None)), arrays(7, b=False)),
    "second alone": (lambda f: jax.vmap(f, (None, 0)), arrays(7, a=False)),
    "other axes": (
        lambda f: jax.vmap(f, (1, 2), (1, 0, 2)),
        (np.moveaxis(arrays(7)[0], 0, 1), np.moveaxis(arrays(7)[1], 0, 2)),
    ),
    "two vmaps": (lambda f: jax.vmap(jax.vmap(f)), arrays(2, 7)),
    "crosswise": (lambda f: jax.vmap(jax.vmap(f, (None, 0)), (0, None)), arrays(7)),
    "the other way": (lambda f: jax.vmap(jax.vmap(f, (0, None)), (None, 0)), arrays(7)),
    "only outside": (lambda f: jax.vmap(jax.vmap(f, (0, None)), (0, None)), arrays(2, 7, b=False)),
    "three vmaps": (lambda f: jax.vmap(jax.vmap(jax.vmap(f)), (1, 1)), arrays(2, 3, 2)),
    "map of vmaps": (lambda f: lambda a, b: mapped(jax.vmap(f), a, b), arrays(8, 2)),
    "scan": (lambda f: lambda a, b: steps(f, a[0], b), arrays(7)),
    "vmap of scan": (
        lambda f: jax.vmap(lambda a, b: steps(f, a, b)),
        (arrays(2)[0], arrays(2, 7)[1]),
    ),
    "checkpoint": (lambda f: jax.vmap(jax.checkpoint(f)), arrays(7)),
}


def summed(transformed: Callable[[Function], Callable], function: Function) -> Callable:
    """One number of all that it returns, each with another weight; and what it returns."""

    def of(a: jax.Array, b: jax.Array) -> tuple[jax.Array, object]:
        result = transformed(function)(a, b)
        leaves = jax.tree.leaves(result)
        return sum((i + 1) * jnp.sum(leaf**2) for i, leaf in enumerate(leaves)), result

    return of


def values_and_gradients(name: str, function: Function) -> tuple:
    transformed, given = TRANSFORMED[name]
    of = jax.value_and_grad(summed(transformed, function), (0, 1), has_aux=True)
    return jax.jit(of)(*given)


expected = cache(partial(values_and_gradients, function=plain))


@pytest.mark.parametrize("name", TRANSFORMED)
def test_values_and_gradients_are_those_of_the_plain_function(name: str, blocks: bool) -> None:
    (total, result), gradients = values_and_gradients(name, over_lanes(plain))
    assert np.abs(gradients[0]).max() > 0.1
    assert_same(((total, result), gradients), expected(name), rtol=1e-4)


@pytest.mark.parametrize("name", ["single", "vmap", "crosswise"])
def test_without_gradients_and_uncompiled(name: str, blocks: bool) -> None:
    transformed, given = TRANSFORMED[name]
    ours = transformed(over_lanes(plain))
    for found in (ours(*map(jnp.asarray, given)), jax.jit(ours)(*given)):
        assert_same(found, expected(name)[0][1])


@pytest.mark.parametrize(
    "derivative",
    [
        pytest.param(jax.jacfwd, id="forward"),
        pytest.param(jax.hessian, id="hessian"),
        pytest.param(lambda f: jax.jacrev(jax.jacrev(f)), id="twice backward"),
    ],
)
@pytest.mark.parametrize("name", ["single", "crosswise"])
def test_all_derivatives(derivative: Callable, name: str, x64: None) -> None:
    transformed, given = TRANSFORMED[name]
    a, b = (jnp.asarray(array[:2] if name == "crosswise" else array, float) for array in given)
    ours, theirs = (
        jax.jit(derivative(lambda a, b, f=function: summed(transformed, f)(a, b)[0]))(a, b)
        for function in (over_lanes(plain), plain)
    )
    assert np.abs(theirs).max() > 0.1
    assert_same(ours, theirs, rtol=1e-10)


def test_derivatives_inside_of_vmap(blocks: bool) -> None:
    given = arrays(2, 7)

    def each(function: Function) -> Callable:
        of_one = jax.value_and_grad(summed(lambda f: f, function), has_aux=True)
        return jax.jit(jax.vmap(jax.vmap(of_one)))

    assert_same(each(over_lanes(plain))(*given), each(plain)(*given), rtol=1e-4)


def test_integers_have_no_derivative(blocks: bool) -> None:
    """An argument of them is chosen from; the slopes are by the others."""

    def chosen(a: jax.Array, index: jax.Array) -> jax.Array:
        return sum(jnp.where(index == i, a[i][None] ** 2, 0.0) for i in range(4))

    a, index = arrays(7)[0], np.arange(7 * 2 * LANES).reshape(7, 2, LANES) % 4
    ours, theirs = (
        jax.jit(jax.vmap(jax.value_and_grad(lambda a, i, f=f: f(a, i).sum())))(a, index)
        for f in (over_lanes(chosen), chosen)
    )
    assert_same(ours, theirs)


def shapes_in(function: Callable, *given: np.ndarray) -> str:
    return str(jax.make_jaxpr(function)(*given))


def test_a_batch_is_more_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call with 2 x 7 x 3 lanes, the batch in the last axis; in blocks of five nine times 5."""
    twice, given = jax.vmap(jax.vmap(over_lanes(plain))), arrays(2, 7)
    assert "f32[4,42]" in shapes_in(twice, *given)
    assert "scan" not in shapes_in(twice, *given)
    seen = []

    def spied(a: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
        seen.append((a.shape, b.shape))
        return plain(a, b)

    for fewest, size, block in [
        (5, 1, 5),  # the fewest lanes, in 9 blocks
        (5, 4 * 12 * 10, 9),  # 10 lanes would fit, 5 blocks of 9 do too
        (20, 4 * 12 * 10, 14),  # 3 blocks
        (42, 1, 42),
        (1, 4 * 12 * 41, 21),
        (1, 4 * 12 * 42, 42),
    ]:
        monkeypatch.setattr(lanes, "FEWEST", fewest)
        monkeypatch.setattr(lanes, "INPUT_OF_BLOCK", size)
        seen.clear()
        text = shapes_in(jax.vmap(jax.vmap(over_lanes(spied))), *given)
        assert seen[-1] == ((4, block), (2, 4, block))
        assert ("scan" in text) == (block < 42)


def test_blocks_are_for_caches_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "FEWEST", 5)
    monkeypatch.setattr(lanes, "INPUT_OF_BLOCK", 1)
    text = {}
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        text[backend] = shapes_in(jax.vmap(over_lanes(plain)), *arrays(7))
    assert "scan" in text["cpu"]
    assert "scan" not in text["gpu"]


def test_what_fills_a_block_up_stays_inside(blocks: bool) -> None:
    """Of zeros it would make NaN."""
    given = np.float32(arrays(7)[0] ** 2 + 0.1)
    ratio = jax.jit(jax.vmap(over_lanes(lambda a: a / a[:1])))
    np.testing.assert_allclose(ratio(given), given / given[:, :1], rtol=1e-6)

"""Strict mode for every test and doctest, the option ``--data``, and the Hypothesis profiles."""

from __future__ import annotations

import gc
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

# One cache of compiled programs for all workers of a run, the processes that they start, and later
# runs: compiling is most of what the tests do. JAX reads these names when it is imported. A
# directory that is named already stays; removing this one only costs time.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = Path(__file__).parents[1] / ".pytest_cache" / "programs"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_programs)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# Without most optimisations a program compiles in half the time. The processes that tests start
# inherit this; .ci/run runs the installed package and the notebooks as a user has them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# The older of XLA's two code generators for a CPU takes 40 % of the time of the newer one. Releases
# after 0.10 have the newer one alone, which the fixture ``current_codegen`` takes here too.
EMITTERS = "xla_cpu_use_fusion_emitters"
HAS_BOTH_CODEGENS = version("jaxlib").startswith("0.10.")
if HAS_BOTH_CODEGENS and EMITTERS not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{EMITTERS}=false".strip()
# Tracing makes many objects that live long, and each look for garbage among them is long.
gc.set_threshold(50_000, 20, 100)

import hypothesis
import jax
import jax._src.compiler
import jaxtyping
import pytest

# Shapes and types of all annotations are checked at every call; an int passes for a float, as it
# does in Python's own typing. The hook only acts on modules that are imported after it.
assert "jaxrecon" not in sys.modules, "jaxrecon was imported before the import hook was installed"
jaxtyping.install_import_hook(
    "jaxrecon", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

jax.config.update("jax_numpy_rank_promotion", "raise")
# It looks at what leaves a compiled function. The infinities of masked reductions are no NaN, and a
# NaN that is caught inside (a singular solve, say) never leaves: nothing legitimate trips it.
jax.config.update("jax_debug_nans", True)

hypothesis.settings.register_profile("dev", max_examples=20, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=20, deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data",
        type=Path,
        default=os.environ.get("JAXRECON_DATA"),
        metavar="PATH",
        help="folder with the published data sets (default: $JAXRECON_DATA); "
        "the tests that need it are skipped without it",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests begin, then those with many: the last ones to end are short."""
    modules = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("contract")
        modules[item.nodeid.partition("::")[0]].append(item)

    def order(module: list[pytest.Item]) -> tuple[bool, int]:
        return all(item.get_closest_marker("slow") is None for item in module), -len(module)

    items[:] = [item for module in sorted(modules.values(), key=order) for item in module]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is imported by now stays: no look for garbage goes through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def room_for_programs() -> Iterator[None]:
    """Every compiled program takes memory maps, of which Linux gives a process 65,530."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def data(pytestconfig: pytest.Config) -> Path:
    """The folder with the published data sets."""
    folder = pytestconfig.getoption("--data")
    if not folder:
        pytest.skip("needs the published data: --data PATH or JAXRECON_DATA")
    folder = Path(folder)
    assert folder.is_dir(), f"expected --data to be a folder, got {folder}"
    return folder


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 wherever a dtype is not given."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def strict_types() -> Iterator[None]:
    """Nothing relies on JAX's promotion of types of numbers, which a user may forbid."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def current_codegen(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA's current code generator, for tests of last digits of programs that are made anew."""
    if not HAS_BOTH_CODEGENS:
        return
    original = jax._src.compiler.get_compile_options

    def options(*arguments: Any, **given: Any) -> Any:
        overrides = {**(given.pop("env_options_overrides", None) or {}), EMITTERS: True}
        return original(*arguments, env_options_overrides=overrides, **given)

    monkeypatch.setattr(jax._src.compiler, "get_compile_options", options)


@pytest.fixture
def bins_past_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins for many atoms even where pairs are less work, so that small structures test them."""
    monkeypatch.setattr(
        "jaxrecon.structures.bounds._less_work", lambda _, among_bins, __: among_bins
    )


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations are not enforced, as for a user: what the code itself says of a wrong type."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The verbs work in a new folder, and leave devices, cache and environment as they are."""
    from jaxrecon.cli import options

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "start_jax", lambda: None)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")

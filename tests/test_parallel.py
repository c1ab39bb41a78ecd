"""Calls spread over processes: all return, and no process outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import joblib
import pytest

from jaxrecon.runtime.parallel import unordered


def test_every_call_is_made_once() -> None:
    assert sorted(unordered(pow, [(number, 2) for number in range(20)])) == [
        number**2 for number in range(20)
    ]


def test_the_backend_is_the_callers() -> None:
    import threading

    names = set()

    def where(number: int) -> int:
        names.add(threading.current_thread().name)
        time.sleep(0.05)
        return number

    with joblib.parallel_config(backend="threading", n_jobs=3):
        found = list(unordered(where, [(number,) for number in range(9)]))
    assert sorted(found) == list(range(9))
    assert len(names) > 1
    assert threading.main_thread().name not in names


def test_processes_are_started_afresh_and_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process would have the memory of its parent, and hang once JAX has run."""
    monkeypatch.setattr(sys, "of_the_parent", True, raising=False)
    assert list(unordered(hasattr, [(sys, "of_the_parent")] * 2, jobs=2)) == [False] * 2
    with (
        joblib.parallel_config(backend="multiprocessing", n_jobs=2),
        pytest.raises(ValueError, match=r"expected a backend.*afresh.*got 'multiprocessing'"),
    ):
        next(unordered(pow, [(1, 2)]))


def test_results_are_yielded_one_by_one() -> None:
    """Calls begin only when results are requested."""
    begun = []

    def call(number: int) -> int:
        begun.append(number)
        return number

    results = unordered(call, [(number,) for number in range(100)])
    assert next(results) == 0
    assert len(begun) < 10
    results.close()
    assert len(begun) < 10


def test_no_jobs_and_errors() -> None:
    with pytest.raises(ValueError, match="expected at least 1 job, got 0"):
        next(unordered(pow, [(1, 2)], jobs=0))
    with pytest.raises(ZeroDivisionError):
        list(unordered(pow, [(2, 2), (0, -1)]))


def test_a_process_that_dies_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match=r"one that died.*--resume continues"):
        list(unordered(os._exit, [(3,), (3,)], jobs=2))


def test_processes_do_not_hear_ctrl_c() -> None:
    """The terminal sends it to all processes; the parent alone answers, as before."""
    before = signal.getsignal(signal.SIGINT)
    assert list(unordered(signal.getsignal, [(signal.SIGINT,)] * 2, jobs=2)) == [signal.SIG_IGN] * 2
    assert signal.getsignal(signal.SIGINT) is before


def test_calls_are_stopped_silently_when_the_caller_stops() -> None:
    """A warning would be an error here."""
    started = time.perf_counter()
    results = unordered(time.sleep, [(0.0,), *[(60.0,)] * 3], jobs=2)
    assert next(results) is None
    results.close()
    assert time.perf_counter() - started < 30.0


KILLED = """
    import sys, time
    sys.path.insert(0, {folder!r})
    from slow_work import slow
    from jaxrecon.runtime.parallel import unordered

    for number in unordered(slow, [(number,) for number in range(100)], jobs=2):
        print(number, flush=True)
"""
SLOW = """
    import os, time
    from pathlib import Path

    def slow(number):
        Path(f"pid-{os.getpid()}").touch()
        time.sleep(0.05)
        return number
"""


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_program_that_ends_at_once_leaves_nothing_behind() -> None:
    """``os._exit`` skips what Python does at its end; joblib's tracker would warn of the rest."""
    program = textwrap.dedent("""
        import joblib, os, sys
        from jaxrecon.runtime.parallel import end_processes, unordered
        end_processes()  # there are none yet
        print(sorted(unordered(divmod, [(7, 2), (8, 3)], 2)), flush=True)
        if "end" in sys.argv:
            end_processes()
        os._exit(3)
    """)
    for words, warned in ((["end"], False), ([], True)):
        ended = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode, ended.stdout) == (3, "[(2, 2), (3, 1)]\n")
        assert ("leaked" in ended.stderr) == warned, ended.stderr


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_processes_end_with_the_one_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "slow_work.py").write_text(textwrap.dedent(SLOW))
    code = textwrap.dedent(KILLED.format(folder=str(tmp_path)))
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    workers = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
    assert workers
    for _ in range(100):
        if not any(alive(worker) for worker in workers):
            break
        time.sleep(0.1)
    assert not any(alive(worker) for worker in workers)

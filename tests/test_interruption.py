"""Ctrl-C during work that reports progress, and the progress bar."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from jaxrecon.runtime.interruption import NOTICE, stoppable
from jaxrecon.runtime.progress import INTERVAL, reporter


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Signal handlers are restored after each test, and all threads have ended."""
    handler = signal.getsignal(signal.SIGINT)
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno())
    threads = threading.active_count()
    try:
        yield
        assert signal.getsignal(signal.SIGINT) is handler
        assert signal.set_wakeup_fd(-1) == sender.fileno()
        # The thread that draws a bar ends a moment later.
        for _ in range(500):
            if threading.active_count() == threads:
                break
            time.sleep(0.01)
        assert threading.active_count() == threads
    finally:
        signal.set_wakeup_fd(before)
        receiver.close()
        sender.close()


def wait(capfd: pytest.CaptureFixture[str]) -> str:
    """The messages of the next ten seconds at most."""
    for _ in range(1000):
        if said := capfd.readouterr().err:
            return said
        time.sleep(0.01)
    return ""


def test_the_first_stops_after_the_report_the_second_leaves(
    capfd: pytest.CaptureFixture[str],
) -> None:
    reports, left = [], threading.Event()
    with stoppable(lambda *words: reports.append(words), left.set) as report:
        report(0, 3)
        os.kill(os.getpid(), signal.SIGINT)
        assert wait(capfd) == f"jaxrecon: {NOTICE}\n"
        for number in range(2):
            with pytest.raises(KeyboardInterrupt):
                report(1, number)
        assert not left.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert left.wait(10.0)
    assert reports == [(0, 3), (1, 0), (1, 1)]


def test_other_signals_are_none_of_its_business(capfd: pytest.CaptureFixture[str]) -> None:
    seen = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.set())
    try:
        with stoppable(lambda *_: None, lambda: None) as report:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert seen.wait(10.0)
            time.sleep(0.1)
            report(0, 0)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert capfd.readouterr().err == ""


def test_what_the_search_raises_goes_through() -> None:
    with (
        pytest.raises(OSError, match="the disk"),
        stoppable(lambda *_: None, lambda: None),
    ):
        raise OSError("the disk is full")


def test_the_bar_appears_at_the_first_report(capfd: pytest.CaptureFixture[str]) -> None:
    with reporter(True, 3) as report:
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == ""
    with reporter(True, 3) as report:
        report(1, 0)
        report(1, 500)
    said = capfd.readouterr().err
    assert said.count("reconstructing") == 1
    assert "2/3" in said
    assert "evaluations/s" in said
    with reporter(False, 3) as report:
        report(1, 5)
    assert capfd.readouterr().err == ""


def test_a_file_gets_lines(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a job tells how far it is, but not at every step."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("jaxrecon.runtime.progress.time", clock)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with reporter(True, 3) as report:
        report(0, 10)
        assert capfd.readouterr().err == ""
        now[0] = INTERVAL
        report(1, 10)
        first = capfd.readouterr().err
        report(2, 10)
        assert capfd.readouterr().err == ""
    assert first.startswith("reconstructing 1/3, ")
    assert first.count("\n") == 1
    last = capfd.readouterr().err
    times = r"\d:\d\d:\d\d passed, 0:00:00 left"
    assert re.fullmatch(rf"reconstructing 3/3, [\d.,]+ evaluations/s, {times}\n", last)
    # Nothing is said of a run that ends at its beginning, as by an error.
    with reporter(True, 3) as report:
        report(0, 0)
    assert capfd.readouterr().err == ""

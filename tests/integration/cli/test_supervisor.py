"""Processes are started, started again, and ended in order."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tenantry_cli.supervisor import MISCONFIGURED, MisconfiguredError, Supervisor
from tests.support.waiting import until

_SLEEP = "import signal; signal.sigwait([signal.SIGTERM])"
_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({ready!r}, "w").close()
time.sleep(60)
"""


_GOES_ON_AND_STOPS = """
import faulthandler, os, sys, time
faulthandler.enable()
pulse = int(sys.argv[sys.argv.index("--pulse-fd") + 1])
goes_on_s = time.monotonic() + 0.5
while time.monotonic() < goes_on_s:
    os.write(pulse, b".")
    time.sleep(0.02)

def held_up():
    time.sleep(60)

held_up()
"""
_BEATS_ONCE = """
import os, sys, time
os.write(int(sys.argv[sys.argv.index("--pulse-fd") + 1]), b".")
time.sleep(60)
"""
_HELD_FROM_THE_FIRST = "import time; time.sleep(60)"


def _spawned(command: Sequence[str], inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, pass_fds=inherited, start_new_session=True)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    started = Supervisor(_spawned)
    yield started
    started.end()
    for fd in started._lifeline:
        os.close(fd)


def _checking(supervisor: Supervisor, true: Callable[[], object]) -> Callable[[], object]:
    def state() -> object:
        supervisor.check()
        return true()

    return state


def test_what_dies_is_started_again(supervisor: Supervisor) -> None:
    supervisor.add("one", [sys.executable, "-c", _SLEEP])
    supervisor.check()
    first = supervisor.pids()["one"]
    os.kill(first, signal.SIGKILL)
    until(_checking(supervisor, lambda: supervisor.pids().get("one", first) != first), "started again")


def test_what_goes_on_no_more_is_ended_with_its_stack_and_started_again(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor.held_s = 1.0
    supervisor.add("held", [sys.executable, "-c", _GOES_ON_AND_STOPS], pulse=True)
    supervisor.add("starts", [sys.executable, "-c", _HELD_FROM_THE_FIRST], pulse=True)
    supervisor.check()
    held, starts = supervisor.pids()["held"], supervisor.pids()["starts"]
    until(_checking(supervisor, lambda: supervisor.pids().get("held", held) != held), "started again")
    assert "in held_up" in capfd.readouterr().err
    assert supervisor.pids()["starts"] == starts, "it may still import"


def test_a_paused_process_is_ended_too(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantry_cli.supervisor._ABORT_S", 0.1)
    supervisor.held_s = 1.0
    supervisor.add("paused", [sys.executable, "-c", _GOES_ON_AND_STOPS], pulse=True)
    child = supervisor._children[0]
    until(_checking(supervisor, lambda: child.beat_s), "it goes on")
    paused = supervisor.pids()["paused"]
    os.kill(paused, signal.SIGSTOP)
    until(_checking(supervisor, lambda: supervisor.pids().get("paused", paused) != paused), "started again")


def test_time_in_which_up_was_paused_itself_counts_against_nobody(supervisor: Supervisor) -> None:
    supervisor.add("beat once", [sys.executable, "-c", _BEATS_ONCE], pulse=True)
    child = supervisor._children[0]
    until(_checking(supervisor, lambda: child.beat_s), "it goes on")
    assert child.beat_s is not None
    child.beat_s -= 2 * supervisor.held_s
    supervisor._checked_s -= 2 * supervisor.held_s
    supervisor.check()
    assert child.aborted_s is None


def test_each_is_looked_after_alone(supervisor: Supervisor) -> None:
    supervisor.add("dies", [sys.executable, "-c", "raise SystemExit(3)"])
    supervisor.add("lives", [sys.executable, "-c", _SLEEP])
    supervisor.check()
    lives = supervisor.pids()["lives"]
    child = supervisor._children[0]
    until(_checking(supervisor, lambda: child.deaths >= 3), "died three times")
    assert supervisor.pids()["lives"] == lives


def test_what_keeps_dying_is_started_less_and_less_often(supervisor: Supervisor) -> None:
    supervisor.add("dies", [sys.executable, "-c", "raise SystemExit(3)"])
    child = supervisor._children[0]
    until(_checking(supervisor, lambda: child.deaths >= 3), "died three times")
    assert child.failures == child.deaths >= 3, "each of them lengthens the wait (backoff.delay_s)"


def test_what_can_never_work_ends_the_rest(supervisor: Supervisor) -> None:
    supervisor.add("wrong", [sys.executable, "-c", f"raise SystemExit({MISCONFIGURED})"])
    supervisor.add("lives", [sys.executable, "-c", _SLEEP])
    with pytest.raises(MisconfiguredError, match="wrong can't work"):
        supervisor.run(lambda: False)
    assert supervisor.pids() == {}


def test_what_does_not_stop_is_killed(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tenantry_cli.supervisor._STOP_S", 0.2)
    ready = tmp_path / "ready"
    supervisor.add("stubborn", [sys.executable, "-c", _STUBBORN.format(ready=str(ready))])
    supervisor.check()
    pid = supervisor.pids()["stubborn"]
    until(ready.exists, "it ignores SIGTERM")
    supervisor.end()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

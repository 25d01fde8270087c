"""What a launcher forks is as a program of its own would be, and its end is seen."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry.processes import inherited, launcher
from tenantry.processes.launcher import UNKNOWN, Launched, Launcher, Wanted
from tests.support.processes.shown import descriptors
from tests.support.waiting import PATIENCE_S, until

_PROGRAM = "tests.integration.core.processes.launched_program"
_ENTRY = f"{_PROGRAM}:main"


@pytest.fixture(scope="module")
def running() -> Iterator[Launcher]:
    started = Launcher(_ENTRY, ["tenantry.tracing.spans"], os.environ)
    yield started
    started.close()


def _launch(asked: Launcher, wanted: Wanted, output: Path) -> Launched:
    with output.open("ab") as file:
        process = launcher.launch(asked.fd, wanted, output=(file.fileno(), file.fileno()))
    assert process is not None
    return process


def test_it_is_as_a_program_would_be(running: Launcher, tmp_path: Path) -> None:
    told = []
    for way in ("program", "forked"):
        here, there = socket.socketpair()
        environment = {"PATH": os.environ["PATH"], "SHARED": str(there.fileno())}
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        output = tmp_path / way
        with here, there:
            if way == "program":
                command = [sys.executable, "-m", _PROGRAM, "tell", "ä b"]
                with output.open("wb") as file:
                    subprocess.run(
                        command,
                        env=environment,
                        cwd=tmp_path,
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        pass_fds=[there.fileno()],
                        start_new_session=True,
                        check=True,
                    )
            else:
                wanted = Wanted(["tell", "ä b"], environment, str(tmp_path), [there.fileno()])
                assert _launch(running, wanted, output).wait(PATIENCE_S) == 0
            assert here.recv(8) == b"here"
        told.append({**json.loads(output.read_text()), "environment": None})
        said = json.loads(output.read_text())["environment"]
        assert {name: said[name] for name in environment} == environment
        assert set(said) - set(environment) <= {"LC_CTYPE"}  # which Python sets itself
    assert told[0] == told[1]


@pytest.mark.parametrize(("how", "status"), [(("exit", "0"), 0), (("exit", "3"), 3), (("raise", "oh"), 1)])
def test_its_exit_status_is_seen(
    running: Launcher, tmp_path: Path, how: tuple[str, str], status: int
) -> None:
    process = _launch(running, Wanted(how), tmp_path / "log")
    assert process.wait(PATIENCE_S) == process.poll() == process.returncode == status
    if status == 1:
        assert "RuntimeError: oh" in (tmp_path / "log").read_text()


def test_what_is_to_be_done_at_its_end_is_done(running: Launcher, tmp_path: Path) -> None:
    assert _launch(running, Wanted(["end"]), tmp_path / "log").wait(PATIENCE_S) == 0
    assert (tmp_path / "log").read_text() == "ended in order\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_it_is_ended_by_a_signal(running: Launcher, tmp_path: Path, signum: signal.Signals) -> None:
    process = _launch(running, Wanted(["wait"]), tmp_path / "log")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signum)
    assert process.wait(PATIENCE_S) == -signum
    process.terminate()  # it has ended, and no other process is meant


def test_no_way_leads_from_it_to_the_launcher(running: Launcher, tmp_path: Path) -> None:
    """And the launcher keeps nothing of what has ended."""
    idle = until(lambda: _idle(running.pid), "the launcher has seen every end so far")
    first, second = (_launch(running, Wanted(["wait"]), tmp_path / "log") for _ in range(2))
    sockets = {each for each in descriptors(running.pid) if each.startswith("socket:")}
    for process in (first, second):
        until(lambda p=process: not sockets & descriptors(p.pid), "all are closed")  # type: ignore[misc]
        process.kill()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert until(lambda: _idle(running.pid), "the launcher has seen these ends too") == idle


def test_chance_is_not_the_same_in_each(running: Launcher, tmp_path: Path) -> None:
    """Else the servers of one machine would sample the same requests, and give the same ids to spans."""
    for _ in range(3):
        assert _launch(running, Wanted(["chance"]), tmp_path / "log").wait(PATIENCE_S) == 0
    assert len(set((tmp_path / "log").read_text().split())) == 3


def test_where_the_launcher_is_gone(tmp_path: Path) -> None:
    """What is tied to it ends. What is not goes on; its end is seen, and not its status."""
    gone = Launcher(_ENTRY, (), os.environ)
    tied = _launch(gone, Wanted(["wait"], tied=True), tmp_path / "log")
    free = _launch(gone, Wanted(["wait"]), tmp_path / "log")
    os.kill(gone.pid, signal.SIGKILL)
    assert tied.wait(PATIENCE_S) in (UNKNOWN, -signal.SIGKILL)
    assert free.poll() is None
    free.send_signal(signal.SIGUSR1)
    assert free.wait(PATIENCE_S) == UNKNOWN
    assert launcher.launch(gone.fd, Wanted(["wait"])) is None
    gone.close()


def test_an_environment_that_is_too_large_is_refused(running: Launcher) -> None:
    assert launcher.launch(running.fd, Wanted(["wait"], {"LARGE": "x" * (1 << 18)})) is None


@pytest.mark.parametrize(
    ("name", "suits"), [("TENANTRY_LEASE_S", True), ("PYTHONPATH", False), ("OMP_NUM_THREADS", False)]
)
def test_what_is_read_as_python_starts_has_to_be_the_same(
    running: Launcher, name: str, suits: bool
) -> None:
    assert running.suits({**os.environ, name: "17"}) is suits


@pytest.mark.parametrize("named", ["", "7", "x:y", "1:1", "999999:5", "-1:3"])
def test_another_descriptor_is_not_taken_for_a_socket(named: str) -> None:
    assert inherited.inheritable({launcher.VARIABLE: named}, launcher.VARIABLE) == ()


def test_a_process_that_was_given_one_uses_it(running: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(launcher.VARIABLE, running.named)
    with launcher.shared(_ENTRY, (), os.environ) as asking:
        assert asking == running.fd
    monkeypatch.delenv(launcher.VARIABLE)
    with launcher.shared(_ENTRY, (), os.environ) as asking:
        assert asking not in (None, running.fd)


def _idle(pid: int) -> set[str] | None:
    """What a launcher without processes has open; None: it has some."""
    found = descriptors(pid)
    return None if any("pidfd" in each for each in found) else found

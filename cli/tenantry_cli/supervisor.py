"""Keeps a few processes running: starts them, starts them again when they die, ends them in order."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from tenantry import TenantryError
from tenantry.processes import backoff

log = structlog.get_logger(__name__)

_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 10.0
_STEADY_S = 10.0  # a process that ran for so long is restarted at once when it dies
_STOP_S = 15.0
_CHECK_EVERY_S = 0.05
_PAUSED_S = 1.0  # between two checks, which no system delays so long
_ABORT_S = 2.0  # for a process that is held up to write its stacks

_USAGE = 2  # click's exit status for a bad option or setting
MISCONFIGURED = 78
"""Exit status (EX_CONFIG of sysexits.h) of a process that would fail in the same way again."""


class MisconfiguredError(TenantryError):
    """A process can't work with its configuration, and logged why."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} can't work with this configuration; the log above says why")


class Running(Protocol):
    """A process that was started, as `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit status, or minus the number of the signal; None: it ran when it was checked last."""

    def poll(self) -> int | None:
        """Look, and return `returncode`."""

    def wait(self, timeout: float | None = None) -> int:
        """Return `returncode` once it has ended."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""

    def terminate(self) -> None:
        """Tell it to stop."""

    def kill(self) -> None:
        """End it."""


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    pass_fds: Sequence[int]
    pulse: int | None = None  # what its process writes to while it goes on
    beat_s: float | None = None  # when it wrote last; None: not yet
    aborted_s: float | None = None  # when it was ended because it was held up
    process: Running | None = None
    started_s: float = 0.0
    start_at_s: float = 0.0
    failures: int = 0
    deaths: int = 0


@dataclass(slots=True)
class Supervisor:
    """Runs named processes until it is stopped.

    Each child gets `--lifeline-fd`, a pipe that closes when this process ends in any way, so no child is
    ever left behind.

    Args:
        start: starts a command with the descriptors that it inherits, in a session of its own.
        held_s: a process with a pulse that has not written to it for so long is ended and started again.
    """

    start: Callable[[Sequence[str], Sequence[int]], Running]
    held_s: float = 30.0
    _children: list[_Child] = field(default_factory=list)
    _lifeline: tuple[int, int] = field(default_factory=os.pipe)
    _checked_s: float = field(default_factory=time.monotonic)

    def add(
        self, name: str, command: Sequence[str], *, pass_fds: Sequence[int] = (), pulse: bool = False
    ) -> None:
        """Run `command` from the next `check` on.

        Args:
            pass_fds: file descriptors that the child inherits under the same numbers.
            pulse: also give it `--pulse-fd`, a pipe that it writes to as long as it goes on.
        """
        fd = self._lifeline[0]
        full, fds = [*command, "--lifeline-fd", str(fd)], [fd, *pass_fds]
        child = _Child(name, full, fds)
        if pulse:
            child.pulse, written = os.pipe()
            for end in (child.pulse, written):
                os.set_blocking(end, False)
            full += ["--pulse-fd", str(written)]
            fds.append(written)
        self._children.append(child)

    def check(self) -> None:
        """Start every process that should run and doesn't, and log which died.

        Raises:
            MisconfiguredError: a process ended because of its configuration.
        """
        now_s = time.monotonic()
        self._forgive(now_s - self._checked_s)
        self._checked_s = now_s
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._died(child, now_s)
            if child.process is not None and child.pulse is not None:
                self._feel(child, child.pulse, now_s)
            if child.process is None and now_s >= child.start_at_s:
                self._start(child, now_s)

    def run(self, stop: Callable[[], bool]) -> None:
        """Keep the processes running until `stop` returns True; then end them, the last one added first."""
        try:
            while not stop():
                self.check()
                time.sleep(_CHECK_EVERY_S)
        finally:
            self.end()

    def pids(self) -> dict[str, int]:
        """Return the process id of each running process by its name."""
        return {c.name: c.process.pid for c in self._children if c.process is not None}

    def end(self) -> None:
        """Tell every process to stop, wait, and kill any that don't."""
        running = [c.process for c in reversed(self._children) if c.process is not None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        until_s = time.monotonic() + _STOP_S
        for process in running:
            try:
                process.wait(max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("killing a process that did not stop", pid=process.pid)
                process.kill()
                process.wait()
        for child in self._children:
            child.process = None

    def _start(self, child: _Child, now_s: float) -> None:
        if child.pulse is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(child.pulse, 1 << 16)  # of the one before
        child.process = self.start(child.command, child.pass_fds)
        child.started_s = now_s
        child.beat_s = child.aborted_s = None
        if child.deaths:
            log.info("started again", name=child.name, pid=child.process.pid, deaths=child.deaths)

    def _forgive(self, since_s: float) -> None:
        """Count no time in which this process was paused itself: so were the others, perhaps."""
        if since_s > _PAUSED_S:
            for child in self._children:
                if child.beat_s is not None:
                    child.beat_s += since_s

    def _feel(self, child: _Child, pulse: int, now_s: float) -> None:
        """End a process that went on once and does so no more."""
        assert child.process is not None  # noqa: S101 - for the type checker: the caller looked
        with contextlib.suppress(BlockingIOError):
            os.read(pulse, 1 << 16)
            if child.aborted_s is None:
                child.beat_s = now_s
        if child.aborted_s is not None:
            if now_s - child.aborted_s > _ABORT_S:
                child.process.kill()
        elif child.beat_s is not None and now_s - child.beat_s > self.held_s:
            log.error("held up; ending it", name=child.name, pid=child.process.pid, seconds=self.held_s)
            child.aborted_s = now_s
            child.process.send_signal(signal.SIGABRT)

    def _died(self, child: _Child, now_s: float) -> None:
        assert child.process is not None  # noqa: S101 - for the type checker: the caller looked
        if child.process.returncode in (_USAGE, MISCONFIGURED):
            raise MisconfiguredError(child.name)
        if now_s - child.started_s >= _STEADY_S:
            child.failures = 0
        child.failures += 1
        wait_s = backoff.delay_s(child.failures, first_s=_FIRST_DELAY_S, last_s=_LAST_DELAY_S)
        log.warning(
            "died",
            name=child.name,
            pid=child.process.pid,
            how=_how(child.process.returncode or 0),
            again_in_s=round(wait_s, 2),
        )
        child.process = None
        child.deaths += 1
        child.start_at_s = now_s + wait_s


def _how(returncode: int) -> str:
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"

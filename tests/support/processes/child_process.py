"""Own one server process that a test started.

Owns: starting it, waiting until it is ready, ending it, and that it never outlives this process.
Refuses: ports, flags and files; those are the caller's.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tenantry_cli.supervisor import Running
from tenantry_server.workers import fork_server
from tests.support.processes import launching

POLL_S = 0.05
LOG_TAIL_LINES = 40  # etcd prints 30 of usage after the flag that it refuses
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ChildFailed(RuntimeError):
    """The process ended, or was not ready in time; the message carries the end of its log."""


class PortTaken(ChildFailed):
    """Another process bound the port first: pick another and start again."""


class Child:
    """A running process whose output goes to `log`.

    It runs in a session of its own, so a Ctrl-C in the terminal reaches only us and we end it in
    order. Where this process dies without a word (kill -9), Linux kills the child; elsewhere it
    stays.

    Args:
        argv: the program's path and its arguments.
        log: appended to, so that a restart keeps what the previous run said.
        env: the whole environment; nothing of ours leaks in.
        gid: group to run under, for a firewall that tells processes apart; None: ours.
    """

    def __init__(
        self, argv: Sequence[str], *, log: Path, env: Mapping[str, str], gid: int | None = None
    ) -> None:
        self._name = Path(argv[0]).name
        self._log = log
        self._log_start_bytes = log.stat().st_size if log.exists() else 0
        # The kernel ties the child to the thread that forked it, not to the process. This thread
        # lives exactly as long as the child is wanted, whichever thread called (asyncio.to_thread, say).
        self._forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"own-{self._name}")
        try:
            self._process = self._forker.submit(_spawn, argv, log, env, gid).result()
        except BaseException:
            self._forker.shutdown()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended; a paused process runs."""
        return self._process.poll() is None

    def wait_ready(self, probe: Callable[[], bool], *, timeout_s: float) -> None:
        """Return once `probe` says True of this process.

        Args:
            probe: True when ready. It must not be fooled by a stranger on the same port.
            timeout_s: budget in seconds.

        Raises:
            PortTaken: the process ended because its port was taken.
            ChildFailed: it ended for another reason, or the budget is spent.
        """
        deadline = time.monotonic() + timeout_s
        while not probe():
            try:
                status = self._process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    late = self._with_log(f"not ready within {timeout_s:.0f} s")
                    raise ChildFailed(late) from None
            else:
                failure = PortTaken if "address already in use" in self._output() else ChildFailed
                raise failure(self._with_log(f"ended with {status} before it was ready"))

    def stop(self, *, grace_s: float) -> None:
        """Ask it to end, and kill it where it has not within `grace_s` seconds. Idempotent."""
        self._process.terminate()
        self._end(grace_s)

    def _end(self, grace_s: float) -> None:
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forker.shutdown()

    def _output(self) -> str:
        """What this run wrote, without that of the runs before it."""
        with self._log.open("rb") as log:
            log.seek(self._log_start_bytes)
            return log.read().decode(errors="replace")

    def _with_log(self, what: str) -> str:
        tail = "\n".join(self._output().splitlines()[-LOG_TAIL_LINES:])
        return f"{self._name}: {what}; its log ends:\n{tail}"


def stop_all(children: Iterable[Child], *, grace_s: float) -> None:
    """Ask all to end, then wait for each: one by one, a server would wait for others to take over."""
    children = list(children)
    for child in children:
        child._process.terminate()
    for child in children:
        child._end(grace_s)


def _spawn(argv: Sequence[str], log: Path, env: Mapping[str, str], gid: int | None) -> Running:
    forked = launching.start(argv, env, log, gid)
    if forked is not None:
        return forked
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            pass_fds=fork_server.inheritable(env),
            start_new_session=True,
            group=gid,  # taken on before the line below: another group would undo it
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - it calls the kernel and nothing else
        )


def _die_with_parent() -> Callable[[], None] | None:
    """A hook for the forked child; None where the kernel has no such promise."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork, after which no lock may be taken
    parent = os.getpid()

    def arm() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we were armed
            os._exit(1)

    return arm

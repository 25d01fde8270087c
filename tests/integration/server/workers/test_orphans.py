"""What models fork ends with their workers, in whatever order the processes of a server are killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tenantry_server.workers import fork_server
from tenantry_server.workers.forking import environment
from tests.support.processes.shown import lives
from tests.support.tenants.hostile.forks import WAYS
from tests.support.waiting import until

_PROGRAM = "from tests.support.tenants.hostile import forks; forks.main()"


class Front:
    """A server's processes, with models that fork."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        (folder / "forked").mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(folder / "forked")],
            env={**env, "TMPDIR": str(self.tmp)},
            pass_fds=fork_server.inheritable(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def load(self, how: str = "ends") -> dict[str, list[int]]:
        """Load a model that forks; return the processes by what they are, `forked` among them.

        Once more where another worker's end, which ends all orphans, has ended some of those.
        """
        return until(lambda: self._loaded(how), "all that a model forked is there")

    def _loaded(self, how: str) -> dict[str, list[int]]:
        for file in (self.folder / "forked").iterdir():
            file.unlink()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(how + "\n")
        self._process.stdin.flush()
        said = next(line for line in self._process.stdout if line.startswith("{"))  # the rest is its log
        told: dict[str, list[int]] = json.loads(said)
        forked = self.forked()
        alive = sum(map(lives, forked))
        return {**told, "front": [self._process.pid], "forked": forked} if alive >= len(WAYS) else {}

    def forked(self) -> list[int]:
        """Return what the last models forked that were loaded."""
        return [int(each.name) for each in (self.folder / "forked").iterdir()]

    def close(self) -> None:
        """Read the status of the one that was killed, or kill it."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    plain = dict(os.environ)
    with fork_server.shared(environment(plain)) as more:
        yield {**plain, **more}


@pytest.fixture
def front(tmp_path: Path, env: dict[str, str]) -> Iterator[Front]:
    front = Front(tmp_path, env)
    yield front
    front.close()
    for pid in front.forked():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _kill_at_once(*pids: int) -> None:
    """Kill processes none of which sees another one's end."""
    for signum in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):  # one that its front still counts among its workers
                os.kill(pid, signum)


def _end(*pids: int) -> None:
    until(lambda: not any(map(lives, pids)), f"none of {pids} is left")


def test_a_server_goes_on_without_what_its_models_forked(front: Front) -> None:
    """Its workers are killed, the process that makes them, and the one that watches that."""
    seen = front.load()
    _kill_at_once(*seen["workers"])
    _end(*seen["forked"])
    seen = front.load()
    _kill_at_once(*seen["zygote"])
    assert all(map(lives, seen["workers"])), "they go on"
    _kill_at_once(*seen["workers"])
    _end(*seen["forked"], *seen["reaper"])
    seen = front.load()
    _kill_at_once(*seen["reaper"])
    _end(*seen["forked"], *seen["zygote"], *seen["workers"])
    seen = front.load()
    _kill_at_once(*seen["front"], *seen["zygote"], *seen["workers"])
    _end(*seen["forked"], *seen["reaper"])
    assert not list(front.tmp.iterdir())


def test_nothing_outlives_a_server_that_is_killed(front: Front) -> None:
    seen = front.load()
    _kill_at_once(*seen["front"])
    _end(*seen["forked"], *seen["zygote"], *seen["workers"], *seen["reaper"])
    assert not list(front.tmp.iterdir())


def test_nothing_outlives_a_server_whose_worker_listens_to_nobody(front: Front) -> None:
    seen = front.load("stays")
    _kill_at_once(*seen["zygote"])
    _kill_at_once(*seen["front"])
    _end(*seen["forked"], *seen["workers"], *seen["reaper"])

"""A front of its own, whose tenants fork in all the ways that leave a worker, for tests to kill.

`main` loads such a model for each line that it reads, and says what its processes are.
"""

import asyncio
import ctypes
import json
import os
import pickle
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from tenantry import ModelId
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tests.support.processes.shown import parent
from tests.support.waiting import until_soon

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_CLONE_PARENT = 0x8000
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_PATIENCE_S = 5.0
WAYS = ("plain", "session", "bare", "under-its-own-reaper", "beside-its-parent")


class Forks:
    """A model whose load forks in every way; each process makes a file that has its process id for a name.

    Args:
        folder: for these files.
        stays: whether the load never ends, in a worker that the end of a pipe ends no more.
    """

    def __init__(self, folder: Path, *, stays: bool = False) -> None:
        self._folder = str(folder)
        self._stays = stays

    def __reduce__(self) -> tuple[Any, ...]:
        return _fork_in_all_ways, (self._folder, self._stays)


def _fork_in_all_ways(folder: str, stays: bool) -> Any:
    from tests.support.tenants.hostile.models import Waits  # noqa: PLC0415 - a front imports no such library

    before = set(Path(folder).iterdir())
    for way in WAYS:
        if way == "beside-its-parent":  # a child of the zygote from the beginning
            clone = ctypes.PyDLL(None).syscall
            pid = clone(_SYS_CLONE[platform.machine()], _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        else:
            pid = os.fork()
        if pid == 0:
            _go_away(way, Path(folder))
    give_up_s = time.monotonic() + _PATIENCE_S  # the end of another worker may have ended some of them
    while len(set(Path(folder).iterdir()) - before) < len(WAYS) and time.monotonic() < give_up_s:
        time.sleep(0.01)
    if stays:
        os.closerange(501, 1024)  # the pipe; the channel to the front is 500
        (Path(folder) / str(os.getpid())).touch()
        time.sleep(3600)
    return Waits().fit([[1.0]], None)


def _go_away(way: str, folder: Path) -> NoReturn:
    if way != "plain":
        os.setsid()
        if way == "under-its-own-reaper":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # A second fork leaves an orphan; beside its parent, the first one's end would end all orphans.
        if way != "beside-its-parent" and os.fork() != 0:
            while way == "under-its-own-reaper":
                time.sleep(3600)
            os._exit(0)
    if way == "bare":
        os.closerange(0, 1024)
    (folder / str(os.getpid())).touch()
    time.sleep(3600)
    os._exit(0)


async def _main(folder: Path) -> None:
    pool = Pool(most=4)
    pool.start()
    await pool.until_ready()
    loads = WorkerLoads(pool, timeout_s=3600)
    kept = []
    for number in range(1000):
        asked = (await asyncio.to_thread(sys.stdin.readline)).strip()
        if not asked:
            break
        await pool.until_ready()
        artifact = pickle.dumps(Forks(folder, stays=asked == "stays"))
        loading = asyncio.get_running_loop().run_in_executor(
            None, loads.load, artifact, ModelId(f"file:///{number}.joblib", isolation="dedicated")
        )
        if asked == "stays":
            await until_soon(lambda: any((folder / str(each.pid)).exists() for each in pool.workers))
        else:
            kept.append(await loading)
        assert pool.zygote_pid is not None
        told = {
            "zygote": [pool.zygote_pid],
            "reaper": [parent(pool.zygote_pid)],
            "workers": [each.pid for each in pool.workers],
        }
        print(json.dumps(told), flush=True)
    pool.close()
    os._exit(0)


def main() -> None:
    """Be such a front; the one argument is the folder for the files of processes."""
    asyncio.run(_main(Path(sys.argv[1])))

"""The workers of a server: which of them keeps which model, and what happens when one ends."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Sequence

import structlog

from tenantry import ModelId
from tenantry.errors import ModelCrashed, ModelQuarantined
from tenantry_server.rows.batch import IN_MEMORY
from tenantry_server.scoring.bounds import MOST_BYTES
from tenantry_server.workers import usage
from tenantry_server.workers.child.sandbox import Sandbox
from tenantry_server.workers.forking import Zygote
from tenantry_server.workers.process import Call, Displaced, Worker
from tenantry_server.workers.strikes import Strikes

log = structlog.get_logger(__name__)

KNOWN = ""  # the group of models that need nothing but the known libraries
_SPARE_BYTES = 1 << 20  # in a frame, for what describes the arrays in it
_CHECK_EVERY_S = 0.05
_PAUSED_S = 2.0  # a process that did not run for longer was stopped; a busy machine takes less
_WEIGH_EVERY_S = 2.0


def possible() -> bool:
    """Return whether this system has what workers need: files in memory, and descriptors of processes."""
    return sys.platform == "linux" and hasattr(os, "memfd_create") and hasattr(os, "pidfd_open")


class Pool:
    """Worker processes, and where each model lives; used on the event loop, but for `dropped`.

    Args:
        most: how many workers may keep models. When there are as many and another one is needed, the idle
            one that was not used for the longest time is ended; its models are loaded again when they are
            asked for.
        held_in: what the workers are held in; None: nothing.
        most_answer_bytes: that a model in a worker may answer.
        most_body_bytes: of a request. A worker that sends more than fits an answer, or what a body may
            hold in memory, is ended.

    Attributes:
        strikes: of models that ended or overran a worker here.
        restarts: how many workers ended, by cause.
        loop: on which calls are made; None before `start` and after `close`.
    """

    def __init__(
        self,
        *,
        most: int,
        held_in: Sandbox | None = None,
        most_answer_bytes: int = MOST_BYTES,
        most_body_bytes: int = 8 << 20,
    ) -> None:
        self.strikes = Strikes()
        self.restarts = dict.fromkeys(("ended", "overran", "recycled"), 0)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._most = most
        self._most_frame_bytes = max(most_answer_bytes, IN_MEMORY * most_body_bytes) + _SPARE_BYTES
        self._zygote = Zygote(self._exited, held_in, most_answer_bytes=most_answer_bytes)
        self._workers: dict[int, Worker] = {}  # by process id
        self._homes: dict[int, Worker] = {}  # by key
        self._checking = False
        self._ran = 0.0, 0.0  # at the last check: the time, and what this process had computed
        self._weighing = False

    def start(self) -> None:
        """Start the zygote; the first worker is there a second or two later."""
        self.loop = asyncio.get_running_loop()
        self._zygote.start()

    async def until_ready(self) -> None:
        """Wait until a worker can be made in milliseconds."""
        await self._zygote.until_imported()

    def close(self) -> None:
        """End every worker."""
        self.loop = None
        for worker in self.workers:
            worker.end()
        self._zygote.close()

    @property
    def workers(self) -> Sequence[Worker]:
        """Those that run."""
        return list(self._workers.values())

    @property
    def zygote_pid(self) -> int | None:
        """The process that makes workers."""
        return self._zygote.pid

    async def fork(self) -> Worker:
        """Make a worker.

        Raises:
            OSError: no process can be made.
        """
        worker = Worker(await self._zygote.fork(), self._gone, most_bytes=self._most_frame_bytes)
        self._workers[worker.pid] = worker
        return worker

    def home_of(self, group: str) -> Worker | None:
        """Return a worker whose models need the same, and that holds up nobody; None: there is none."""
        homes = [each for each in self.workers if each.group == group and each.welcoming]
        return min(homes, key=lambda each: (each.busy, each.waiting), default=None)

    def settle(self, key: int, home: Worker, group: str, size_bytes: int) -> None:
        """Let a model live in a worker, which keeps models of this group from now on."""
        if home.group is None:
            self._make_room()
            home.group = group
            if not self._weighing:
                self._weighing = True
                asyncio.get_running_loop().call_later(_WEIGH_EVERY_S, self._weigh)
        home.sizes[key] = size_bytes
        self._homes[key] = home

    def call(self, key: int, call: Call) -> None:
        """Ask the model of this key; ModelQuarantined comes of it where it is left alone for a while."""
        wait_s = self.strikes.wait_s(call.about, time.monotonic())
        home = self._homes.get(key)
        if wait_s:
            call.end(ModelQuarantined(ModelId.parse(call.about).uri, self.strikes.how(call.about), wait_s))
        elif home is None:
            call.end(Displaced())
        else:
            self.submit(home, call)

    def submit(self, worker: Worker, call: Call) -> None:
        """Let a worker make a call, and watch its time."""
        worker.submit(call)
        if not self._checking:
            self._checking = True
            self._ran = time.monotonic(), time.process_time()
            asyncio.get_running_loop().call_later(_CHECK_EVERY_S, self._check)

    def recycle(self, worker: Worker) -> None:
        """End a worker that is not needed as it is."""
        self.restarts["recycled"] += 1
        worker.end()

    def dropped(self, key: int) -> None:
        """Give up a model that nobody refers to any more; called in any thread."""
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self.loop.call_soon_threadsafe(self._drop, key)

    def crashed(self, model_id: str, how: str) -> ModelCrashed:
        """Count a strike of a model that ended its worker; return what to answer."""
        self.restarts["ended"] += 1
        return ModelCrashed(ModelId.parse(model_id).uri, how, strikes=self._strike(model_id, how))

    def overran(self, model_id: str, how: str) -> None:
        """Count a strike of a model whose worker was ended because it took too long."""
        self.restarts["overran"] += 1
        self._strike(model_id, how)

    def _make_room(self) -> None:
        homes = [each for each in self.workers if each.group is not None and each.open]
        idle = [each for each in homes if not each.busy]
        if len(homes) >= self._most and idle:
            self.recycle(min(idle, key=lambda each: each.used_s))

    def _strike(self, model_id: str, how: str) -> int:
        count = self.strikes.add(model_id, how, time.monotonic())
        log.warning("a model ended its worker", model=model_id, how=how, strikes=count)
        return count

    def _check(self) -> None:
        """Look at the clock for all workers, as long as one of them is busy."""
        now_s = time.monotonic()
        slept_s = self._slept_s(now_s)
        for worker in self.workers:
            worker.check(now_s, slept_s)
        self._checking = any(worker.busy for worker in self.workers)
        if self._checking:
            asyncio.get_running_loop().call_later(_CHECK_EVERY_S, self._check)

    def _slept_s(self, now_s: float) -> float:
        """Return for how long this process did not run since the last check: nor did workers, perhaps.

        Both are stopped where a container is frozen, say, and no model is at fault.
        """
        (checked_s, before_s), computed_s = self._ran, time.process_time()
        self._ran = now_s, computed_s
        slept_s = now_s - checked_s - _CHECK_EVERY_S - (computed_s - before_s)
        return slept_s if slept_s > _PAUSED_S else 0.0

    def _weigh(self) -> None:
        """End workers that took more memory than their models explain, once they are idle."""
        homes = [each for each in self.workers if each.group is not None and each.open]
        for home in homes:
            own_bytes, held_bytes = usage.own_bytes(home.pid), sum(home.sizes.values())
            if not home.busy and usage.has_outgrown(own_bytes, home.at_first_bytes, held_bytes):
                mib = own_bytes >> 20
                log.warning("a worker grew; its models are loaded again", pid=home.pid, own_mib=mib)
                self.recycle(home)
        self._weighing = self.loop is not None and bool(homes)
        if self._weighing:
            asyncio.get_running_loop().call_later(_WEIGH_EVERY_S, self._weigh)

    def _exited(self, pid: int, status: int) -> None:
        worker = self._workers.get(pid)
        if worker is not None:
            worker.exited(status)

    def _gone(self, worker: Worker) -> None:
        self._workers.pop(worker.pid, None)
        for key in worker.sizes:
            self._homes.pop(key, None)

    def _drop(self, key: int) -> None:
        home = self._homes.pop(key, None)
        if home is None:
            return
        home.drop(key)
        if not home.sizes and (home.slow or home.group != KNOWN):
            home.end()

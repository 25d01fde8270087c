"""Steady requests for many tenants, whose every answer is checked; what a load balancer and its clients do.

Owns: the pace (open loop: a slow answer delays no later request), who is asked for whom, the counts.
Refuses: judging them; that is the tests'. Servers are told apart by name, tenants by number (`lines`).
"""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
import uvloop

from tests.support.load.balancer import Balancer
from tests.support.load.figures import Answer, Figures
from tests.support.network.clients.http_client import Connections, Lost, Refused, Silent
from tests.support.tenants import lines
from tests.support.waiting import PATIENCE_S, until

_T = TypeVar("_T")
_PATIENCE_S = 15.0  # longer than any server's own budget, so that it is the server that gives up
_DRAWN = 1 << 17
_MOST_UNDER_WAY = 4000  # on a machine that is too slow for the load; each takes a descriptor


class Load:
    """Requests from a thread of its own, until stopped.

    Args:
        servers: base URLs by name; a restarted server keeps its own.
        tenants: whom to ask for; the k-th of them with a chance in proportion to 1/k.
        per_s: requests a second.
        seed: of the order of tenants.
        versions: tenant -> the version that is Ready now; 1 for those that are not named.
    """

    def __init__(
        self,
        servers: Mapping[str, str],
        tenants: Sequence[int],
        *,
        per_s: float = 500.0,
        seed: int = 1,
        versions: Mapping[int, int] | None = None,
    ) -> None:
        self._balancer = Balancer(servers)
        self._per_s = per_s
        self._ready = dict(versions or {})
        self._order = _zipf(tenants, seed)
        self._figures = Figures()
        self._phase = "start"
        self._under_way: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._paths = {n: f"/predict/{lines.user_id(n)}" for n in tenants}
        self._loop = uvloop.new_event_loop()
        self._connections = Connections()
        self._stopping: asyncio.Event
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()
        self._started.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What a test says

    def phase(self, name: str) -> None:
        """Count requests that begin from here on under this name; one thread does both, without a clock.

        Connections that a server closed before are known to be closed by then: the loop has looked twice.
        """
        self._call(lambda: None)
        self._call(lambda: setattr(self, "_phase", name))

    def ready(self, tenant: int, version: int) -> None:
        """Ready was seen of this version: what is asked from now on must not be older."""
        self._call(lambda: self._ready.__setitem__(tenant, version))

    def pace(self, per_s: float) -> None:
        """So many requests a second from here on."""
        self._call(lambda: setattr(self, "_per_s", per_s))

    def add(self, name: str, url: str) -> None:
        """One more server to ask."""
        self._call(lambda: self._balancer.add(name, url))

    def until_answered(self, count: int, *, timeout_s: float = PATIENCE_S) -> None:
        """Until so many more requests of this phase have ended, well or not."""
        phase = self._phase
        enough = self.figures()[phase].sent + count
        until(
            lambda: self.figures()[phase].sent >= enough,
            f"{count} answers",
            timeout_s=timeout_s,
            every_s=0.1,
        )

    def under_way(self, name: str) -> int:
        """Requests that this server was sent and has not answered."""
        return self._call(lambda: self._under_way.get(name, 0))

    def figures(self) -> Figures:
        """What was counted so far; requests under way are not in it."""
        return self._call(self._figures.copy)

    def stop(self) -> Figures:
        """Send nothing more, wait for the answers, and tell. Idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        return self._figures

    def _call(self, what: Callable[[], _T]) -> _T:
        """`what` in the thread of the load, so that nothing changes half-way through a request."""
        told: Future[_T] = Future()
        self._loop.call_soon_threadsafe(lambda: told.set_result(what()))
        return told.result(30)

    # The thread

    def _run(self) -> None:
        gc.freeze()  # the tests' own hundred thousand objects are not part of a request's latency
        try:
            self._loop.run_until_complete(self._send())
        finally:
            self._loop.close()

    async def _send(self) -> None:
        self._stopping = asyncio.Event()
        self._started.set()
        probing = asyncio.create_task(self._balancer.run())
        due_s = time.perf_counter()
        turn = 0
        while not self._stopping.is_set():
            now_s = time.perf_counter()
            while due_s <= now_s:
                if len(self._tasks) < _MOST_UNDER_WAY:
                    self._begin(int(self._order[turn % _DRAWN]), due_s)
                turn += 1
                due_s += 1 / self._per_s
            await asyncio.sleep(due_s - time.perf_counter())
        await asyncio.gather(*self._tasks)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
        self._connections.close()

    def _begin(self, tenant: int, due_s: float) -> None:
        task = self._loop.create_task(self._ask(tenant, due_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, tenant: int, due_s: float) -> None:
        """One request: another server where one refuses the connection, one answer or one failure."""
        phase, promised = self._phase, self._ready.get(tenant, 1)
        for name, port in self._balancer.turn():
            self._under_way[name] = self._under_way.get(name, 0) + 1
            try:
                reply = await self._connections.post(
                    port, self._paths[tenant], lines.BODY, timeout_s=_PATIENCE_S
                )
            except Refused:
                self._balancer.refused(name)
                self._figures.refused(phase)
                continue
            except (Lost, Silent) as failure:
                kind = f"{type(failure).__name__.lower()} by {name}"
                self._figures.failed(phase, tenant, kind)
                return
            finally:
                self._under_way[name] -= 1
            took_s = time.perf_counter() - due_s
            self._figures.answered(phase, Answer(tenant, promised, name, reply, took_s))
            return
        self._figures.failed(phase, tenant, "nobody takes connections")


def _zipf(tenants: Sequence[int], seed: int) -> npt.NDArray[np.int64]:
    chances = 1 / np.arange(1, len(tenants) + 1)
    return np.random.default_rng(seed).choice(
        np.asarray(tenants, dtype=np.int64), size=_DRAWN, p=chances / chances.sum()
    )

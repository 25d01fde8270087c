"""Clients that ask every server all the time, and what they may be told: nothing older than was promised.

Each version of each user's model has a slope of its own, so one prediction names both.
"""

import asyncio
import contextlib
import itertools
import json
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp

from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import TENANT_MODELS

_PER_USER = 1000  # versions of one user at most
_EVERY_S = 0.1
_AT_ONCE = 20  # to each server as soon as Ready is seen
_WAITING = 2  # at a server, when it is asked once more: else a sleeper wakes to old requests first
_PATIENCE_S = 60.0
_UNAVAILABLE = (503, 504)  # not ready yet, or its budget passed while the server was paused


@dataclass(frozen=True)
class Told:
    """One answer: its status, and the slope that it gives away."""

    status: int
    slope: float | None = None


class Promises:
    """What was applied, and what Ready was said of; shared by threads.

    The *turn* of an apply is its place among those of its user, deletions and new objects in between
    or not.

    Attributes:
        broken: what a server answered although it must not.
    """

    def __init__(self) -> None:
        self.broken: list[str] = []
        self._lock = threading.Lock()
        self._indices: dict[str, int] = {}
        self._turns: Counter[str] = Counter()
        self._last_turn_of: dict[tuple[str, float], int] = {}
        self._meant: dict[tuple[str, int], tuple[str, int]] = {}
        self._said: set[tuple[str, int]] = set()
        self._ready: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()

    def slope(self, user_id: str, version: int) -> float:
        """The slope that stands for this version of this user, and for nothing else."""
        with self._lock:
            index = self._indices.setdefault(user_id, len(self._indices) + 1)
        return float(index * _PER_USER + version)

    def applying(self, user_id: str, slope: float) -> int:
        """Call it before an apply; returns its turn."""
        with self._lock:
            self._turns[user_id] += 1
            turn = self._last_turn_of[user_id, slope] = self._turns[user_id]
            return turn

    def applied(self, user_id: str, turn: int, uid: str, generation: int) -> None:
        """The API server took it as this generation of this object."""
        with self._lock:
            self._meant[uid, generation] = (user_id, turn)
            self._note(uid, generation)

    def deleting(self, user_id: str) -> None:
        """Call it before a delete: what was ready so far may be answered with 404 from here on."""
        with self._lock:
            self._ended[user_id] = self._turns[user_id]

    def said_ready(self, uid: str, generation: int) -> None:
        """The API server shows Ready for exactly this generation; perhaps before the apply was answered."""
        with self._lock:
            self._said.add((uid, generation))
            self._note(uid, generation)

    def _note(self, uid: str, generation: int) -> None:
        user_id, turn = self._meant.get((uid, generation), ("", 0))
        if user_id and (uid, generation) in self._said:
            self._ready[user_id] = max(turn, self._ready[user_id])

    def promised(self, user_id: str) -> int:
        """The turn that a request which starts now may rely on; 0: nothing was promised."""
        with self._lock:
            return self._ready[user_id]

    def newest_is_ready(self, user_id: str) -> bool:
        """Whether Ready was seen of the last apply."""
        with self._lock:
            return self._ready[user_id] == self._turns[user_id]

    def check(self, server_id: str, user_id: str, promised: int, told: Told) -> None:
        """Compare an answer with what was promised when its request started."""
        with self._lock:
            problem = self._problem(user_id, promised, told)
        if problem:
            self.broken.append(
                f"{server_id} answered {told} for {user_id} to a request that started when "
                f"turn {promised} was Ready: {problem}"
            )

    def _problem(self, user_id: str, promised: int, told: Told) -> str:
        if told.slope is not None:
            turn = self._last_turn_of.get((user_id, told.slope))
            if turn is None:
                return "another user's model"
            return f"that is the model of turn {turn}" if turn < promised else ""
        if told.status == 404:
            return "the user has a model" if promised > self._ended[user_id] else ""
        return "" if told.status in _UNAVAILABLE else "not a status for this"


class Readers:
    """Watch TenantModels, and ask every server for one user after the other; sleepers are not waited for.

    As soon as Ready is seen, each server is asked for that user too: nobody can be asked earlier.

    Args:
        servers: base URLs by server id; a restarted server keeps its own.
        users: whom to ask for.
    """

    def __init__(
        self,
        plane: ControlPlane,
        promises: Promises,
        servers: Mapping[str, str],
        users: Callable[[], list[str]],
    ) -> None:
        self._plane = plane
        self._promises = promises
        self._servers = servers
        self._users = users
        self._under_way: Counter[str] = Counter()
        self._stop = threading.Event()
        self._wanted: deque[tuple[str, str]] = deque()
        self.told: Counter[tuple[str, int]] = Counter()  # (server id, HTTP status) -> answers
        self._sent: Counter[tuple[str, str]] = Counter()  # (server id, user id) -> turn that was promised
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="readers")
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether they still ask; an error of theirs ends them."""
        return self._thread.is_alive()

    def sent(self, server_id: str, user_id: str) -> bool:
        """Whether a request that may rely on the newest Ready is in this server's socket, or answered."""
        return self._sent[server_id, user_id] >= self._promises.promised(user_id)

    def want(self, server_id: str, user_id: str) -> None:
        """Ask this server for this user soon, however many requests wait there; from any thread.

        Where what is applied is what stands already, no event says Ready, and no client would ask again.
        """
        self._wanted.append((server_id, user_id))

    def stop(self) -> None:
        """Let requests under way end, and check their answers too."""
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0)
        trace = aiohttp.TraceConfig()
        trace.on_request_chunk_sent.append(self._note_sent)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector, trace_configs=[trace]) as session,
            asyncio.TaskGroup() as group,
        ):
            watching = asyncio.create_task(self._watch(session, group))
            for n in itertools.count():
                if self._stop.is_set() or watching.done():
                    break
                while self._wanted:
                    group.create_task(self._ask(session, *self._wanted.popleft(), wanted=True))
                users = self._users()
                for server_id in self._servers if users else ():
                    if self._under_way[server_id] <= _WAITING:
                        group.create_task(self._ask(session, server_id, users[n % len(users)]))
                await asyncio.sleep(_EVERY_S)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        trust = ssl.create_default_context(cafile=self._plane.ca_file)
        headers = {"Authorization": f"Bearer {self._plane.admin_token}"}
        url = f"{self._plane.url}{TENANT_MODELS}?watch=1"  # with what is there already to begin with
        endless = aiohttp.ClientTimeout()
        while True:
            async with session.get(url, headers=headers, ssl=trust, timeout=endless) as events:
                async for line in events.content:
                    found = json.loads(line)["object"]
                    if _is_ready(found):
                        metadata = found["metadata"]
                        self._promises.said_ready(metadata["uid"], metadata["generation"])
                        for server_id in self._servers:
                            for _ in range(_AT_ONCE):
                                asking = self._ask(session, server_id, found["spec"]["userId"])
                                group.create_task(asking)

    async def _ask(
        self, session: aiohttp.ClientSession, server_id: str, user_id: str, *, wanted: bool = False
    ) -> None:
        promised = self._promises.promised(user_id)
        url = f"{self._servers[server_id]}/predict/{user_id}"
        known = (server_id, user_id, promised)
        self._under_way[server_id] += 1
        try:
            async with session.post(url, json={"instances": [[1.0]]}, trace_request_ctx=known) as reply:
                told = Told(reply.status, _slope(await reply.json()))
        except (aiohttp.ClientError, OSError):  # it was killed, or the connection broke
            if wanted and not self.sent(server_id, user_id):
                self._wanted.append((server_id, user_id))
            return
        finally:
            self._under_way[server_id] -= 1
        self.told[server_id, told.status] += 1
        self._promises.check(server_id, user_id, promised, told)

    async def _note_sent(
        self, _session: aiohttp.ClientSession, context: SimpleNamespace, _chunk: object
    ) -> None:
        if context.trace_request_ctx is not None:  # the watch has none
            server_id, user_id, promised = context.trace_request_ctx
            self._sent[server_id, user_id] = max(promised, self._sent[server_id, user_id])


def _slope(body: Any) -> float | None:
    return round(body["predictions"][0], 6) if "predictions" in body else None


def _is_ready(found: Mapping[str, Any]) -> bool:
    """Whether the status says Ready of the newest generation."""
    status = found.get("status", {})
    newest: bool = status.get("observedGeneration") == found["metadata"]["generation"]
    return newest and any(
        c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])
    )

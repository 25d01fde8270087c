"""`POST /peers/kernels`: a server gets the arrays of small models that are asked for here, and held there.

Owns the path, both ends of the exchange, and how much of it there is at once. Refuses to judge which copies
are worth their memory (see `memory.near_cache`), and any model that is not a kernel: what a peer sends is
checked as a worker's arrays are, and nothing in it is executed.

A copy is kept under its model id, which names exact bytes, and which of them answers for a user is read
from the routing table for every request; so a copy is as fresh as any other model here.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import orjson
import structlog
from aiohttp import web

from tenantry.errors import InvalidRequest
from tenantry_server.access.hops import Hops
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.kernels import arrays, packing, unpacking
from tenantry_server.kernels.arrays import Array, Malformed
from tenantry_server.kernels.base import Compiled
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.peers.answers.answer import TYPE, BrokenAnswer, PeerAnswer, PeerLost
from tenantry_server.peers.directory import Directory
from tenantry_server.wire import bodies

log = structlog.get_logger(__name__)

PATH = "/peers/kernels"
_AT_ONCE = 256  # kernels in one answer: 2 ms to write, and 6 to read, with requests in between
_IN_A_ROW = 16  # kernels that requests wait for
_MOST_BYTES = 1 << 20  # of one answer, after which no kernel is added to it
_GATHER_S = 0.002  # for which users of one server are gathered into a question
_SHARE = 0.2  # of a core, that copying takes at most; the holder's part is smaller
_MOST_WAITING = 8192  # then nobody is added: who is asked for often comes again
_MOST_IDS = 4096  # that are remembered to have no kernel
_LONGEST_ID = 8 << 10
_ANSWER_S = 5.0
_ARRAYS = b"application/octet-stream"


class NearCopies:
    """Brings copies of other servers' kernels here, a few at a time, beside requests.

    Args:
        models: the model cache, with a share for near copies.
        table: who holds which user's model.
        directory: the other servers.
        hops: proves to them that this server asks; None: nothing does.
    """

    def __init__(
        self,
        models: CachedModelRepository,
        table: RoutingTable,
        directory: Directory,
        hops: Hops | None = None,
    ) -> None:
        self._models = models
        self._table = table
        self._directory = directory
        self._hops = hops
        self._waiting: OrderedDict[str, dict[str, None]] = OrderedDict()  # who holds which model ids
        self._waiting_count = 0
        self._never: set[str] = set()
        self._wake = asyncio.Event()

    def passed_on(self, user_id: str) -> None:
        """Another server has answered a prediction for this user."""
        model_id = self._table.model_of(user_id)
        if model_id is None or model_id in self._never or not self._models.missed_near(model_id):
            return
        owner = self._table.owner_of(user_id)
        if owner in self._directory.peers and self._waiting_count < _MOST_WAITING:
            of_owner = self._waiting.setdefault(str(owner), {})
            self._waiting_count += model_id not in of_owner
            of_owner[model_id] = None
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER_S)
            owner, asked = self._next()
            spent_s = await self._copy(owner, asked)
            await asyncio.sleep(spent_s * (1 / _SHARE - 1))

    def _next(self) -> tuple[str, list[str]]:
        """Take out what to ask of whom; the servers take turns."""
        owner, waiting = self._waiting.popitem(last=False)
        asked = list(islice(waiting, _AT_ONCE))
        for model_id in asked:
            del waiting[model_id]
        self._waiting_count -= len(asked)
        if waiting:
            self._waiting[owner] = waiting
        if not self._waiting:
            self._wake.clear()
        return owner, asked

    async def _copy(self, owner: str, asked: list[str]) -> float:
        """Get kernels and keep them; return what that took of the loop's thread, in seconds."""
        peer = self._directory.peers.get(owner)
        if peer is None or not peer.usable:
            return 0.0
        try:
            answer = await peer.ask(_Question(orjson.dumps({"models": asked}), self._hops))
            return await self._keep(set(asked), answer.body) if answer.status == 200 else 0.0
        except PeerLost as lost:
            log.debug("no near copies", peer=owner, error=str(lost))
        except (Malformed, KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("a server's kernels can't be read", peer=owner, error=str(error))
            self._remember(asked)
        return 0.0

    async def _keep(self, asked: set[str], body: bytes) -> float:
        began_s = time.thread_time()
        document, given = arrays.decode(body)
        self._remember([model_id for model_id in document["never"] if model_id in asked])
        spent_s = time.thread_time() - began_s
        for some in _in_rows(list(zip(document["kernels"], given, strict=True))):
            await asyncio.sleep(0)
            began_s = time.thread_time()
            for described, packed in some:
                self._keep_one(asked, described, packed)
            spent_s += time.thread_time() - began_s
        return spent_s

    def _keep_one(self, asked: set[str], described: dict[str, Any], packed: Array) -> None:
        model_id, call_s = described["model"], float(described["call_s"])
        if model_id in asked:
            self._models.keep_near(model_id, unpacking.unpack(packed.tobytes()), call_s)

    def _remember(self, without_kernel: list[str]) -> None:
        if len(self._never) + len(without_kernel) > _MOST_IDS:
            self._never.clear()
        self._never.update(without_kernel)


def routes(models: CachedModelRepository) -> list[web.RouteDef]:
    """Return the route ``POST /peers/kernels``, which takes ``{"models": [model id, …]}``.

    It answers with a document and arrays, as `kernels.arrays` writes them: ``kernels``, one for each array,
    and ``never``: which of the models are none, or too large. What is not in memory, or comes after the
    first MiB, is in neither.
    """

    async def kernels(request: web.Request) -> web.Response:
        answer = _Answer(0 if models.near is None else models.near.largest_bytes)
        for some in _in_rows(_ids_in(await bodies.whole(request))):
            for model_id in some:
                answer.add(model_id, models.glance(model_id))
            await asyncio.sleep(0)
        return web.Response(body=answer.body(), content_type="application/octet-stream")

    return [web.post(PATH, kernels)]


class _Answer:
    """Kernels for another server.

    Args:
        largest_bytes: of one of them in memory.
    """

    def __init__(self, largest_bytes: int) -> None:
        self._largest_bytes = largest_bytes
        self._found: list[dict[str, Any]] = []
        self._packed: list[Array] = []
        self._never: list[str] = []
        self._size_bytes = 0

    def add(self, model_id: str, resident: Resident | None) -> None:
        """Add a model, or that it is never to be had; a later question gets what has no place here."""
        if resident is None or self._size_bytes >= _MOST_BYTES:
            return
        packed = None
        if isinstance(resident.model, Compiled) and resident.size_bytes <= self._largest_bytes:
            packed = _packed(resident.model)
        if packed is None:
            self._never.append(model_id)
        elif resident.call_s < _ANSWER_S:  # else it was never measured
            self._found.append({"model": model_id, "call_s": resident.call_s})
            self._packed.append(np.frombuffer(packed, np.uint8))
            self._size_bytes += len(packed)

    def body(self) -> bytes:
        return b"".join(arrays.encode({"kernels": self._found, "never": self._never}, self._packed))


_T = TypeVar("_T")


def _in_rows(given: Iterable[_T]) -> Iterator[list[_T]]:
    """Iterate over `_IN_A_ROW` of them at a time."""
    left = iter(given)
    while some := list(islice(left, _IN_A_ROW)):
        yield some


def _packed(kernel: Compiled) -> bytes | None:
    """Write a kernel; None: it has no form on the wire, or has not kept what that takes."""
    try:
        return b"".join(packing.pack(kernel))
    except (TypeError, KeyError):
        return None


def _ids_in(body: bytes) -> list[str]:
    """Return the model ids that a question names.

    Raises:
        InvalidRequest: it names none, or too many.
    """
    try:
        asked = orjson.loads(body)["models"]
    except (ValueError, KeyError, TypeError):
        asked = None
    if not isinstance(asked, list) or len(asked) > _AT_ONCE:
        raise InvalidRequest(f'expected {{"models": [...]}} with at most {_AT_ONCE} model ids')
    if not all(isinstance(model_id, str) and len(model_id) <= _LONGEST_ID for model_id in asked):
        raise InvalidRequest("a model id must be a string")
    return asked


class _Question:
    """The question, as a request to a peer, and its own body."""

    is_whole = True
    may_hold_up = False
    method = "POST"
    trace = b""

    def __init__(self, body: bytes, hops: Hops | None) -> None:
        self._body = body
        self._hops = hops
        self.body = self
        self.lost: set[str] = set()
        self.ends_s = time.monotonic() + _ANSWER_S

    def now(self) -> bytes:
        return self._body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body

    def check(self, answer: PeerAnswer) -> None:
        if answer.status == 200 and answer.fields.get(TYPE) != _ARRAYS:
            raise BrokenAnswer("its kernels have another Content-Type")

    def head_for(self, host: bytes) -> bytes:
        path, length = PATH.encode(), b"%d" % len(self._body)
        proof = b"" if self._hops is None else self._hops.line(host, b"POST", path, length)
        return b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %b\r\n\r\n" % (path, host, proof, length)

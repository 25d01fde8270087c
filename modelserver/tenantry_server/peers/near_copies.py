"""`POST /peers/kernels`: a server gets the arrays of small models that are asked for here, and held there.

Owns the path, both ends of the exchange, and how much of it there is at once. Refuses to judge which copies
are worth their memory (see `memory.near_cache`), and any model that is not a kernel: what a peer sends is
checked as a worker's arrays are, and nothing in it is executed.

A copy is kept under its model id, which names exact bytes, and which of them answers for a user is read
from the routing table for every request; so a copy is as fresh as any other model here.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

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
from tenantry_server.peers.answers.answer import TYPE, BrokenAnswer, PeerAnswer, PeerLost
from tenantry_server.peers.directory import Directory
from tenantry_server.wire import bodies

log = structlog.get_logger(__name__)

PATH = "/peers/kernels"
_AT_ONCE = 16  # kernels in one answer: a millisecond to write, and as much to read
_EVERY_S = 0.0125  # so that copying takes a tenth of a core at most, on either side
_MOST_WAITING = 1024  # then nobody is added: who is asked for often comes again
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
        self._waiting: dict[str, str] = {}  # model id -> who holds it
        self._never: set[str] = set()
        self._wake = asyncio.Event()

    def passed_on(self, user_id: str) -> None:
        """Another server has answered a prediction for this user."""
        model_id = self._table.model_of(user_id)
        if model_id is None or model_id in self._never or not self._models.missed_near(model_id):
            return
        owner = self._table.owner_of(user_id)
        if owner in self._directory.peers and len(self._waiting) < _MOST_WAITING:
            self._waiting[model_id] = str(owner)
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(_EVERY_S)
            owner = next(iter(self._waiting.values()))
            asked = [model_id for model_id, holder in self._waiting.items() if holder == owner][:_AT_ONCE]
            for model_id in asked:
                del self._waiting[model_id]
            if not self._waiting:
                self._wake.clear()
            await self._copy(owner, asked)

    async def _copy(self, owner: str, asked: list[str]) -> None:
        peer = self._directory.peers.get(owner)
        if peer is None or not peer.usable:
            return
        try:
            answer = await peer.ask(_Question(orjson.dumps({"models": asked}), self._hops))
            if answer.status == 200:
                self._keep(set(asked), *arrays.decode(answer.body))
        except PeerLost as lost:
            log.debug("no near copies", peer=owner, error=str(lost))
        except (Malformed, KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("a server's kernels can't be read", peer=owner, error=str(error))
            self._remember(asked)

    def _keep(self, asked: set[str], document: dict[str, Any], given: list[Array]) -> None:
        for described, packed in zip(document["kernels"], given, strict=True):
            model_id, call_s = described["model"], float(described["call_s"])
            if model_id in asked:
                self._models.keep_near(model_id, unpacking.unpack(packed.tobytes()), call_s)
        self._remember([model_id for model_id in document["never"] if model_id in asked])

    def _remember(self, without_kernel: list[str]) -> None:
        if len(self._never) + len(without_kernel) > _MOST_IDS:
            self._never.clear()
        self._never.update(without_kernel)


def routes(models: CachedModelRepository) -> list[web.RouteDef]:
    """Return the route ``POST /peers/kernels``, which takes ``{"models": [model id, …]}``.

    It answers with a document and arrays, as `kernels.arrays` writes them: ``kernels``, one for each array,
    and ``never``: which of the models are none, or too large. What is not in memory is in neither.
    """

    async def kernels(request: web.Request) -> web.Response:
        largest = 0 if models.near is None else models.near.largest_bytes
        found, packed, never = [], [], []
        for model_id in _ids_in(await bodies.whole(request)):
            resident = models.glance(model_id)
            if resident is None:
                continue
            parts = None
            if isinstance(resident.model, Compiled) and resident.size_bytes <= largest:
                parts = _packed(resident.model)
            if parts is None:
                never.append(model_id)
            elif resident.call_s < _ANSWER_S:  # else it was never measured
                found.append({"model": model_id, "call_s": resident.call_s})
                packed.append(np.frombuffer(parts, np.uint8))
        body = b"".join(arrays.encode({"kernels": found, "never": never}, packed))
        return web.Response(body=body, content_type="application/octet-stream")

    return [web.post(PATH, kernels)]


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

"""Plain predictions that another process computes: a peer, or a worker that holds the user's model.

Owns whom such a request is given to, and its answer as bytes. Where there is none, the application goes on
with the request, and knows what was tried or what went wrong; so errors have the same words there. Refuses
everything that has to be loaded or explained first.
"""

import math
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

from tenantry import TenantryError
from tenantry.errors import QuotaExceeded
from tenantry.tracing import spans
from tenantry_server.peers.answers.answer import PeerAnswer
from tenantry_server.peers.choice import Ask
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.peers.sending import hop_request
from tenantry_server.peers.sending.connection import PeerConnection
from tenantry_server.peers.sending.hop_request import HopRequest
from tenantry_server.protocols.service import Service
from tenantry_server.protocols.v2 import infer_answer
from tenantry_server.rows import infer_request
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.results import to_json
from tenantry_server.wire import headers
from tenantry_server.wire.asked import BEGAN_S, FAILED, USER
from tenantry_server.wire.bodies import Arrived
from tenantry_server.wire.heads import Block, Form, Target, path_of, start_of
from tenantry_server.wire.later import Continued, Ended, InTask, Later

_JSON = start_of("application/json")


class LaterAnswers:
    """Finds who answers a plain prediction that this process can't answer at once.

    Args:
        service: the inside of this server.
        forwarder: passes on what other servers should answer; None: everything is answered here.
        answered: called with the status and the seconds of each answer.
        whole: from the beginning of a head, a body and the age of what is known in seconds, to an answer.
    """

    def __init__(
        self,
        service: Service,
        forwarder: Forwarder | None,
        answered: Callable[[int, float], None],
        whole: Callable[[str, bytes, float | None], bytes],
    ) -> None:
        self._service = service
        self._plane = service.plane
        self._forwarder = forwarder
        self._answered = answered
        self._whole = whole

    def find(self, target: Target, block: Block, body: bytes, began_s: float) -> Later | None:
        """Return what gives the answer; None: the application finds out.

        Args:
            began_s: when the request arrived, of `time.perf_counter`.
        """
        forwarder, user_id = self._forwarder, target.user_id
        if forwarder is not None and not block.may_be_hop:
            route = forwarder.choose_plain(user_id)
            if route is None:
                return None
            if isinstance(route, Ask):
                kept = hop_request.kept_of_block(block.lines, traced=spans.current() is not None)
                if kept is None:
                    return None
                hop = forwarder.plain_hop(path_of(target), kept, Arrived(body), _named_s(block))
                return _PassedOn(forwarder, route, hop, _Asked(user_id, began_s), self._answered)
        try:
            if not self._plane.models.is_in_worker(user_id):
                return None
            asked: Any = (
                infer_request.parse(body, block.json_length) if target.form == Form.V2 else parse(body)
            )
        except TenantryError:
            return None  # the application meets the error again, and describes it
        return InTask(_Asked(user_id, began_s).contained(self._computed(target, block, asked, began_s)))

    async def _computed(
        self, target: Target, block: Block, asked: Any, began_s: float
    ) -> bytes | Continued:
        form, user_id, _ = target
        plane, service = self._plane, self._service
        plane.quotas.check_rate(user_id)
        payload = asked.tensors if form == Form.V2 else asked
        timeout_s = min(service.predict_timeout_s, _named_s(block))
        given = await plane.predict(user_id, payload, timeout_s=timeout_s)
        about = _JSON
        if form == Form.V2:
            content, json_bytes = await service.write(
                given, partial(infer_answer.render, asked, given, user_id)
            )
            if json_bytes is not None:
                about = start_of("application/octet-stream", json_bytes)
        else:
            bare = payload.bare and form == Form.NATIVE
            content = await service.write(given, partial(to_json, given.predictions, bare=bare))
        start = f"{about}{headers.value_of(given.model_id)}"
        whole = self._whole(start, content, service.registry_age_s())
        seconds = time.perf_counter() - began_s
        self._answered(200, seconds)
        plane.meter.accounts.ended(user_id, 200, seconds)
        return whole


class _Asked(NamedTuple):
    """A request that the application goes on with where there is no answer.

    Attributes:
        user_id: whom it is for.
        began_s: when it arrived, of `time.perf_counter`.
    """

    user_id: str
    began_s: float

    def continued(self, known: dict[Any, Any]) -> Continued:
        """Return what the application gets to know."""
        return Continued(known | {BEGAN_S: self.began_s, USER: self.user_id})

    async def contained(self, answer: Coroutine[Any, Any, bytes | Continued]) -> bytes | Continued:
        """Return the same answer; of an exception, that the application describes it."""
        try:
            found = await answer
        except Exception as error:
            return self.continued({FAILED: error})
        return found if isinstance(found, bytes) else self.continued(found.known)


class _PassedOn(Later):
    """A prediction that a peer answers.

    Where a connection to it is idle, the request is sent before `begin` returns, and the answer is given in
    the turn of the loop in which it arrives. Everything else is done in a task.
    """

    __slots__ = ("_answered", "_asked", "_connection", "_ended", "_forwarder", "_hop", "_rest", "_route")

    def __init__(
        self,
        forwarder: Forwarder,
        route: Ask,
        hop: HopRequest,
        asked: _Asked,
        answered: Callable[[int, float], None],
    ) -> None:
        self._forwarder = forwarder
        self._route = route
        self._hop = hop
        self._asked = asked
        self._answered = answered
        self._connection: PeerConnection | None = None
        self._rest: InTask | None = None

    def begin(self, ended: Ended) -> None:
        self._ended = ended
        if spans.current() is not None:  # the hop is a part of it, with a block of its own
            self._go_on()
            return
        user_id = self._asked.user_id
        try:
            self._connection = self._forwarder.begin(self._hop, user_id, self._route, self._came)
        except QuotaExceeded as error:
            ended(self._asked.continued({FAILED: error}))
            return
        if self._connection is None:
            self._go_on()

    def cancel(self) -> None:
        self._ended = _ignored
        if self._rest is not None:
            self._rest.cancel()
        elif self._connection is not None:
            self._connection.abandon()

    def _came(self, answer: PeerAnswer | None) -> None:
        self._connection = None
        if self._ended is _ignored:
            return
        if answer is None:
            self._go_on()
            return
        try:
            written: bytes | Continued = self._written(answer)
        except Exception as error:
            written = self._asked.continued({FAILED: error})
        self._ended(written)

    def _go_on(self) -> None:
        self._rest = InTask(self._asked.contained(self._followed()))
        self._rest.begin(self._ended)

    async def _followed(self) -> bytes | Continued:
        known: dict[Any, Any] = {}
        answer = await self._forwarder.pass_on(self._hop, self._asked.user_id, self._route, known)
        return Continued(known) if answer is None else self._written(answer)

    def _written(self, answer: PeerAnswer) -> bytes:
        self._answered(answer.status, time.perf_counter() - self._asked.began_s)
        return self._forwarder.written(self._asked.user_id, answer)


def _ignored(_: bytes | Continued) -> None:
    """Take an answer that nobody waits for."""


def _named_s(block: Block) -> float:
    """Return how long the request says that it may take; infinite where it does not."""
    return math.inf if block.timeout_ms is None else block.timeout_ms / 1e3

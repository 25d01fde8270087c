"""Plain predictions that another process computes: a peer, or a worker that holds the user's model.

Owns whom such a request is given to, and its answer as bytes. Where there is none, the application goes on
with the request, and knows what was tried or what went wrong; so errors have the same words there. Refuses
everything that has to be loaded or explained first.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tenantry import TenantryError
from tenantry.tracing import spans
from tenantry_server.peers.choice import Ask
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.peers.sending import hop_request
from tenantry_server.protocols.service import Service
from tenantry_server.protocols.v2 import infer_answer
from tenantry_server.rows import infer_request
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.results import to_json
from tenantry_server.wire import headers
from tenantry_server.wire.asked import BEGAN_S, FAILED, USER
from tenantry_server.wire.bodies import Arrived
from tenantry_server.wire.heads import Block, Form, Target, path_of, start_of
from tenantry_server.wire.later import Continued, Later

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
                return _contained(
                    self._passed_on(forwarder, route, target, block, body, began_s), target, began_s
                )
        try:
            if not self._plane.models.is_in_worker(user_id):
                return None
            asked: Any = (
                infer_request.parse(body, block.json_length) if target.form == Form.V2 else parse(body)
            )
        except TenantryError:
            return None  # the application meets the error again, and describes it
        return _contained(self._computed(target, block, asked, began_s), target, began_s)

    async def _passed_on(
        self, forwarder: Forwarder, route: Ask, target: Target, block: Block, body: bytes, began_s: float
    ) -> bytes | Continued:
        kept = hop_request.kept_of_block(block.lines, traced=spans.current() is not None)
        if kept is None:
            return Continued()
        hop = forwarder.plain_hop(path_of(target), kept, Arrived(body), _named_s(block))
        known: dict[Any, Any] = {}
        answer = await forwarder.pass_on(hop, target.user_id, route, known)
        if answer is None:
            return Continued(known)
        self._answered(answer.status, time.perf_counter() - began_s)
        return forwarder.written(answer)

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


async def _contained(later: Later, target: Target, began_s: float) -> bytes | Continued:
    """Let the application go on where there is no answer, with when the request arrived, and for whom."""
    try:
        answer = await later
    except Exception as error:
        answer = Continued({FAILED: error})
    if isinstance(answer, Continued):
        answer.known |= {BEGAN_S: began_s, USER: target.user_id}
    return answer


def _named_s(block: Block) -> float:
    """Return how long the request says that it may take; infinite where it does not."""
    return math.inf if block.timeout_ms is None else block.timeout_ms / 1e3

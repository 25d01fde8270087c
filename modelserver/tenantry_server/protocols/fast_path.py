"""The fast path: answers plain predictions as their bytes arrive, before aiohttp makes a request of them.

A prediction is plain where aiohttp's parser has accepted its headers before, its body is here and small
(see `wire.plain_connection`), and its model is in memory and quick; or where its user's rate is used up:
then its body is not even parsed. What a peer or a worker computes is sent on as it arrives, too, and the
answer is written once it is there (see `later_answers`). Everything else goes to aiohttp unchanged, and
gets the same answer there, byte for byte but for the date.
"""

import time
from collections.abc import Callable
from email.utils import formatdate

from aiohttp import hdrs, web

from tenantry import TenantryError
from tenantry.errors import QuotaExceeded
from tenantry_server.access.gate import Gate
from tenantry_server.memory.resident import Resident
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.peers.view import FleetMap
from tenantry_server.predicting.answer import Answer
from tenantry_server.protocols.later_answers import LaterAnswers
from tenantry_server.protocols.service import Service
from tenantry_server.protocols.v2 import infer_answer
from tenantry_server.rows import infer_request
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.results import to_json
from tenantry_server.wire import headers, later
from tenantry_server.wire.errors import refusals
from tenantry_server.wire.errors import responses as error_responses
from tenantry_server.wire.heads import Block, Form, Target, path_of, start_of
from tenantry_server.wire.later import Later
from tenantry_server.wire.log.access_log import AccessLog
from tenantry_server.wire.plain_connection import PlainServer

_MOST_BYTES = 64 << 10  # of a body: larger ones would hold up others
_LENGTH = f"\r\n{hdrs.CONTENT_LENGTH}: "
_NATIVE, _V2 = int(Form.NATIVE), int(Form.V2)  # an enum's members take longer to get at than to compare
_WORDS = {
    Form.NATIVE: error_responses.native,
    Form.V1: error_responses.kserve,
    Form.V2: error_responses.kserve,
}


class FastPath:
    """What stands before an application.

    Args:
        service: gives the answers.
        forwarder: passes on what other servers should answer; None: everything is answered here.
        server_id: shown in the header Tenantry-Server.
        gate: says who may ask for whom.
        max_body_bytes: a larger body goes to the application, which refuses it.
        answered: called with the status and the seconds of each answer.
        fleet_map: whose revision stands on each answer; None: there is no map.

    Attributes:
        most_bytes: of a body that is answered here.
    """

    def __init__(
        self,
        service: Service,
        forwarder: Forwarder | None,
        *,
        gate: Gate,
        server_id: str,
        max_body_bytes: int,
        answered: Callable[[int, float], None],
        fleet_map: FleetMap | None = None,
    ) -> None:
        plane = self._plane = service.plane
        self._forwarder = forwarder
        self._gate = gate
        self.most_bytes = min(max_body_bytes, _MOST_BYTES)
        self._answered = answered
        self._models = plane.models
        self._accounts = plane.meter.accounts
        self._spent = plane.meter.accounts.spent
        self._json = start_of("application/json")
        self._server = f"\r\n{headers.SERVER}: {server_id}"
        self._fleet_map = fleet_map
        self._later = LaterAnswers(service, forwarder, answered, self._whole)
        self._middle = ""  # of a head, with the map of this second, up to the length
        self._end = ""  # the same with its date
        self._date_until_s = 0.0

    def install(self, server: web.Server, access_log: AccessLog | None = None) -> None:
        """Stand before the application of `server`, which has no connections yet.

        Args:
            access_log: gets the requests that are answered here; aiohttp has those of the application.
        """
        PlainServer.take_over(
            server,
            self,
            wants_certificates=self._gate.wants_certificates,
            connecting=None if access_log is None else access_log.connection,
        )
        server.request_handler = later.continuing(refusals.knowing_expectations(server.request_handler))

    def _is_hop(self, target: Target, block: Block, proof: str) -> bool:
        return self._gate.is_hop(hdrs.METH_POST, path_of(target), str(block.body_bytes), [proof])

    def answer(self, target: Target, block: Block, body: bytes) -> bytes | Later | None:
        """Return the answer to a plain request, or what gives it; None: the application has to see it."""
        began_s = time.perf_counter()
        user_id, gate, quotas = target.user_id, self._gate, self._plane.quotas
        if gate.required and not (
            gate.admits(block.authorization, user_id) and not block.may_be_hop
            if block.proof is None
            else self._is_hop(target, block, block.proof)
        ):
            return None
        limits = quotas.of(user_id)
        if limits is None:
            answer = self._predicted(target, block, body, began_s, limited=False)
            return answer or self._later.find(target, block, body, began_s)
        if limits.counts_requests:
            refusal = None if block.may_be_hop else self._refused(target)
            if refusal is not None:
                seconds = time.perf_counter() - began_s
                self._answered(429, seconds)
                self._accounts.recorded(user_id, 429, seconds)
                return refusal
            if quotas.share(user_id) is None:
                return self._later.find(target, block, body, began_s)
        mark = quotas.mark(user_id)
        answer = self._predicted(target, block, body, began_s, limited=True)
        if answer is not None:
            return answer
        quotas.restore(user_id, mark)  # who answers counts the request
        return self._later.find(target, block, body, began_s)

    def _predicted(
        self, target: Target, block: Block, body: bytes, began_s: float, *, limited: bool
    ) -> bytes | None:
        form, user_id, _ = target
        about = self._json
        try:
            found = self._models.find_quick(user_id)
            if found is None:
                return None
            if form == _V2:
                content, about = self._v2(user_id, found, block, body, limited=limited)
            else:
                payload = parse(body)
                predictions = self._plane.score_quick(user_id, found[1], payload, limited=limited)
                if predictions is None:
                    return None
                content = to_json(predictions, bare=payload.bare and form == _NATIVE)
        except TenantryError:
            return None  # the application meets the error again, and describes it
        if content is None:
            return None
        resident = found[1]
        if not resident.shown:
            resident.shown = headers.value_of(found[0])
        whole = self._whole(f"{about}{resident.shown}", content)
        self._spent(user_id, resident.call_s, 1)
        seconds = time.perf_counter() - began_s
        self._answered(200, seconds)
        if self._accounts.sampled:
            self._accounts.recorded(user_id, 200, seconds)
        return whole

    def _refused(self, target: Target) -> bytes | None:
        """Return the refusal that the application would give by the user's rate; None: ask on."""
        user_id, quotas = target.user_id, self._plane.quotas
        try:
            if not self._models.knows(user_id):
                return None
            share = quotas.share(user_id)
            if share is None and self._forwarder is not None:
                self._forwarder.check_told(user_id)
            elif share is not None and share.count == 1:  # of several holders another one may answer
                quotas.check_rate(user_id)
        except QuotaExceeded as error:
            return self._refusal(error, target.form)[0]
        except TenantryError:
            return None
        return None

    def _refusal(self, error: QuotaExceeded, form: int) -> tuple[bytes, int]:
        """Return a whole refusal, and the length of its body."""
        start, content = error_responses.over_rate(error, _WORDS[Form(form)])
        return self._whole(start, content), len(content)

    def _whole(self, start: str, content: bytes, age_s: float | None = None) -> bytes:
        if time.time() >= self._date_until_s:
            self._new_second()
        middle = self._middle
        if age_s is not None:
            middle = middle.replace(_LENGTH, f"\r\n{headers.REGISTRY_AGE}: {int(age_s)}{_LENGTH}")
        return f"{start}{middle}{len(content)}{self._end}".encode() + content

    def _v2(
        self, user_id: str, found: tuple[str, Resident], block: Block, body: bytes, *, limited: bool
    ) -> tuple[bytes | None, str]:
        asked = infer_request.parse(body, block.json_length)
        predictions = self._plane.score_quick(user_id, found[1], asked.tensors, limited=limited)
        if predictions is None:
            return None, ""
        content, json_bytes = infer_answer.render(asked, Answer(predictions, found[0]), user_id)
        if json_bytes is None:
            return content, self._json
        return content, start_of("application/octet-stream", json_bytes)

    def _new_second(self) -> None:
        now_s = time.time()
        revision = 0 if self._fleet_map is None else self._fleet_map.revision
        shards = f"\r\n{headers.SHARDS}: {revision}" if revision else ""
        self._middle = f"{self._server}{shards}{_LENGTH}"
        self._end = f"\r\nDate: {formatdate(now_s, usegmt=True)}\r\n\r\n"
        self._date_until_s = int(now_s) + 1.0

"""The fast path: answers plain predictions as their bytes arrive, before aiohttp makes a request of them.

A prediction is plain where aiohttp's parser has accepted its headers before, its body is here and small
(see `wire.plain_connection`), and its model is in memory and quick; or where its user's rate is used up:
then its body is not even parsed. Everything else goes to aiohttp unchanged, and gets the same answer there,
byte for byte but for the date.
"""

import re
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

from aiohttp import HttpVersion11, hdrs, web

from tenantry import TenantryError
from tenantry.errors import QuotaExceeded
from tenantry_server.access.gate import Gate
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.peers.view import FleetMap
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.protocols.v2 import infer_answer, infer_request
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.results import to_json
from tenantry_server.wire import headers
from tenantry_server.wire.answers import WholeAnswer
from tenantry_server.wire.asked import USER
from tenantry_server.wire.errors import refusals
from tenantry_server.wire.errors import responses as error_responses
from tenantry_server.wire.heads import JSON_LENGTH, Block, Form, Target
from tenantry_server.wire.log.access_log import AccessLog
from tenantry_server.wire.plain_connection import PlainServer

_MOST_BYTES = 64 << 10  # of a body: larger ones would hold up others
_NATIVE, _V2 = int(Form.NATIVE), int(Form.V2)  # an enum's members take longer to get at than to compare
_PATHS: dict[int, str] = {
    Form.NATIVE: "/predict/{}",
    Form.V1: "/v1/models/{}:predict",
    Form.V2: "/v2/models/{}/infer",
}
_WORDS = {
    Form.NATIVE: error_responses.native,
    Form.V1: error_responses.kserve,
    Form.V2: error_responses.kserve,
}
_NAME = "([A-Za-z0-9._~@:+-]+)"
_PREDICTION = re.compile(f"/predict/{_NAME}|/v1/models/{_NAME}:predict|/v2/models/{_NAME}/infer")
_Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class FastPath:
    """What stands before an application.

    Args:
        plane: gives the answers.
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
        plane: DataPlane,
        forwarder: Forwarder | None,
        *,
        gate: Gate,
        server_id: str,
        max_body_bytes: int,
        answered: Callable[[int, float], None],
        fleet_map: FleetMap | None = None,
    ) -> None:
        self._plane = plane
        self._forwarder = forwarder
        self._gate = gate
        self.most_bytes = min(max_body_bytes, _MOST_BYTES)
        self._answered = answered
        self._accounts = plane.meter.accounts
        self._spent = plane.meter.accounts.spent
        self._json = _start("application/json")
        self._server = f"\r\n{headers.SERVER}: {server_id}"
        self._fleet_map = fleet_map
        self._middle = ""  # of a head, with the map of this second
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
        if self._forwarder is not None:
            server.request_handler = self._passing_on(server.request_handler, self._forwarder)
        server.request_handler = refusals.knowing_expectations(server.request_handler)

    def _passing_on(self, application: _Handler, forwarder: Forwarder) -> _Handler:
        """Return a handler that has plain predictions answered by peers, past the application."""

        async def handler(request: Any) -> web.StreamResponse:
            if request.method == "POST" and _arrived(request):
                named = _PREDICTION.fullmatch(request.raw_path)
                if named is not None and self._may_pass_on(request, named[named.lastindex or 1]):
                    passed_on = await self._passed_on(request, forwarder, named)
                    if passed_on is not None:
                        return passed_on
            return await application(request)

        return handler

    async def _passed_on(
        self, request: web.Request, forwarder: Forwarder, named: re.Match[str]
    ) -> WholeAnswer | None:
        began_s, form = time.perf_counter(), named.lastindex or 1
        request[USER] = named[form]
        try:
            passed_on = await forwarder.pass_on_plain(request, named[form])
        except QuotaExceeded as error:
            answer, length = self._refusal(error, form)
            passed_on = WholeAnswer(answer, length, 429)
        if passed_on is not None:
            self._answered(passed_on.status, time.perf_counter() - began_s)
        return passed_on

    def _may_pass_on(self, request: web.Request, user_id: str) -> bool:
        if headers.HOP in request.headers or headers.PROOF in request.headers:
            return False
        if not self._gate.required:
            return True
        shown = request.headers.getall(hdrs.AUTHORIZATION, ())
        return len(shown) == 1 and self._gate.admits(shown[0], user_id)

    def _is_hop(self, target: Target, block: Block, proof: str) -> bool:
        path = _PATHS[target.form].format(target.user_id)
        return self._gate.is_hop(hdrs.METH_POST, path, str(block.body_bytes), [proof])

    def answer(self, target: Target, block: Block, body: bytes) -> bytes | None:
        """Return the whole answer to a plain request; None: the application has to see it."""
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
            return self._predicted(target, block, body, began_s)
        if limits.counts_requests:
            refusal = None if block.may_be_hop else self._refused(target)
            if refusal is not None:
                return self._counted(refusal, 429, user_id, began_s)
            if quotas.share(user_id) is None:
                return None
        mark = quotas.mark(user_id)
        answer = self._predicted(target, block, body, began_s)
        if answer is None:
            quotas.restore(user_id, mark)  # the application counts the request
        return answer

    def _predicted(self, target: Target, block: Block, body: bytes, began_s: float) -> bytes | None:
        form, user_id, _ = target
        about = self._json
        try:
            found = self._plane.find_quick(user_id)
            if found is None:
                return None
            if form == _V2:
                content, about = self._v2(user_id, found, block, body)
            else:
                payload = parse(body)
                answer = self._plane.score_quick(user_id, found, payload)
                if answer is None:
                    return None
                content = to_json(answer.predictions, bare=payload.bare and form == _NATIVE)
        except TenantryError:
            return None  # the application meets the error again, and describes it
        if content is None:
            return None
        whole = self._whole(f"{about}{headers.value_of(found[0])}", content)
        self._spent(user_id, found[1].call_s, 1)
        return self._counted(whole, 200, user_id, began_s)

    def _refused(self, target: Target) -> bytes | None:
        """Return the refusal that the application would give by the user's rate; None: ask on."""
        user_id, quotas = target.user_id, self._plane.quotas
        try:
            if not self._plane.knows(user_id):
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

    def _whole(self, start: str, content: bytes) -> bytes:
        if time.time() >= self._date_until_s:
            self._new_second()
        return f"{start}{self._middle}{len(content)}{self._end}".encode() + content

    def _counted(self, answer: bytes, status: int, user_id: str, began_s: float) -> bytes:
        seconds = time.perf_counter() - began_s
        self._answered(status, seconds)
        if status != 200 or self._accounts.sampled:
            self._accounts.recorded(user_id, status, seconds)
        return answer

    def _v2(self, user_id: str, found: Any, block: Block, body: bytes) -> tuple[bytes | None, str]:
        asked = infer_request.parse(body, block.json_length)
        answer = self._plane.score_quick(user_id, found, asked.tensors)
        if answer is None:
            return None, ""
        content, json_bytes = infer_answer.render(asked, answer, user_id)
        if json_bytes is None:
            return content, self._json
        return content, _start(f"application/octet-stream\r\n{JSON_LENGTH}: {json_bytes}")

    def _new_second(self) -> None:
        now_s = time.time()
        revision = 0 if self._fleet_map is None else self._fleet_map.revision
        shards = f"\r\n{headers.SHARDS}: {revision}" if revision else ""
        self._middle = f"{self._server}{shards}\r\n{hdrs.CONTENT_LENGTH}: "
        self._end = f"\r\nDate: {formatdate(now_s, usegmt=True)}\r\n\r\n"
        self._date_until_s = int(now_s) + 1.0


def _start(about: str) -> str:
    """Return an answer's head, up to the model id."""
    return f"HTTP/1.1 200 OK\r\n{hdrs.CONTENT_TYPE}: {about}\r\n{headers.MODEL_ID}: "


def _arrived(request: web.Request) -> bool:
    """Whether the whole body is here, without an error, on an HTTP/1.1 connection that stays open."""
    content = request.content
    return (
        content.is_eof()
        and content.exception() is None
        and request.keep_alive
        and request.version == HttpVersion11
    )

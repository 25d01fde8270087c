"""The fast path: answers plain predictions before the application is asked.

It saves the router, the middleware and the making of headers, which cost as much as a small prediction. A
prediction is plain where its body has arrived, and its head is one that most clients send. This server
answers it at once where the model is in memory and quick, or passes it on where a peer should answer;
everything else goes to the application unchanged.

Leans on `aiohttp.web.Server.request_handler` (aiohttp 3.14), which tests/integration/server/protocols/
test_fast_path.py fails without.
"""

import re
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from aiohttp import HttpVersion11, web

from tenantry import TenantryError
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.results import to_json
from tenantry_server.wire import bodies, headers
from tenantry_server.wire.answers import WholeAnswer

_AT_ONCE_BYTES = 64 << 10  # larger bodies would hold up others
_PREFIX = "/predict/"
_NAME = "[A-Za-z0-9._~@:+-]+"
_NATIVE = re.compile(_PREFIX + _NAME)
_KSERVE = re.compile(f"/v1/models/({_NAME}):predict|/v2/models/({_NAME})/infer")


class FastPath:
    """What stands before an application.

    Args:
        plane: gives the answers.
        forwarder: passes on what other servers should answer; None: everything is answered here.
        server_id: shown in the header Tenantry-Server.
        max_body_bytes: a larger body goes to the application, which refuses it.
        answered: called with the status and the seconds of each answer.
    """

    def __init__(
        self,
        plane: DataPlane,
        forwarder: Forwarder | None,
        *,
        server_id: str,
        max_body_bytes: int,
        answered: Callable[[int, float], None],
    ) -> None:
        self._plane = plane
        self._forwarder = forwarder
        self._max_body_bytes = max_body_bytes
        self._max_bytes = min(max_body_bytes, _AT_ONCE_BYTES)
        self._answered = answered
        self._head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"{headers.SERVER}: {server_id}\r\n{headers.MODEL_ID}: "
        )
        self._date = ""
        self._date_until_s = 0.0

    def install(self, server: web.Server) -> None:
        """Stand before the application of `server`."""
        application = server.request_handler
        forwarder = self._forwarder

        async def handler(request: Any) -> web.StreamResponse:
            if request.method == "POST" and _arrived(request):
                path = request.raw_path
                if _NATIVE.fullmatch(path):
                    user_id = path[len(_PREFIX) :]
                    body = request.content.read_nowait()
                    answer = self._at_once(user_id, body)
                    if answer is not None:
                        return answer
                    request[bodies.BODY] = bodies.Body(request, self._max_body_bytes, body)
                elif forwarder is not None and (named := _KSERVE.fullmatch(path)):
                    user_id = named[named.lastindex or 1]
                else:
                    return await application(request)
                if forwarder is not None and headers.HOP not in request.headers:
                    began_s = time.perf_counter()
                    passed_on = await forwarder.pass_on_plain(request, user_id)
                    if passed_on is not None:
                        self._answered(passed_on.status, time.perf_counter() - began_s)
                        return passed_on
            return await application(request)

        server.request_handler = handler

    def _at_once(self, user_id: str, body: bytes) -> WholeAnswer | None:
        if len(body) > self._max_bytes:
            return None
        began_s = time.perf_counter()
        try:
            found = self._plane.find_quick(user_id)
            if found is None:
                return None
            payload = parse(body)
            answer = self._plane.score_quick(user_id, found, payload)
            if answer is None:
                return None
            content = to_json(answer.predictions, bare=payload.bare)
        except TenantryError:
            return None  # the application meets the error again, and describes it
        head = (
            f"{self._head}{headers.value_of(answer.model_id)}\r\n"
            f"Date: {self._now()}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._answered(200, time.perf_counter() - began_s)
        return WholeAnswer(head.encode() + content, len(content))

    def _now(self) -> str:
        now_s = time.time()
        if now_s >= self._date_until_s:
            self._date = formatdate(now_s, usegmt=True)
            self._date_until_s = int(now_s) + 1.0
        return self._date


def _arrived(request: web.Request) -> bool:
    """Whether the whole body is here, without an error, on an HTTP/1.1 connection that stays open."""
    content = request.content
    return (
        content.is_eof()
        and content.exception() is None
        and request.keep_alive
        and request.version == HttpVersion11
    )

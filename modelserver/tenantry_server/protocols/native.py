"""Tenantry's own protocol: `POST /predict/{user_id}`, with a short way for what can be answered at once."""

import re
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import numpy as np
import orjson
from aiohttp import HttpVersion11, web

from tenantry import TenantryError
from tenantry.errors import PredictionFailed
from tenantry.model import Predictions
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.json_payload import parse
from tenantry_server.wire import bodies, deadlines, headers
from tenantry_server.wire.answers import WholeAnswer

PATH = "/predict/{user_id}"
_PREFIX = "/predict/"
_PLAIN_TARGET = re.compile(r"/predict/[A-Za-z0-9._~@:+-]+")


class PredictRoute:
    """The handler of predictions, and its short way past the application.

    Args:
        plane: gives the answers.
        server_id: shown in the header Tenantry-Server.
        timeout_s: for one request, a cold load included.
        max_body_bytes: a larger body is answered with 413.
        answered: told the status and the seconds of what went the short way.
    """

    def __init__(
        self,
        plane: DataPlane,
        *,
        server_id: str,
        timeout_s: float,
        max_body_bytes: int,
        answered: Callable[[int, float], None],
    ) -> None:
        self._plane = plane
        self._timeout_s = timeout_s
        self._max_body_bytes = max_body_bytes
        self._answered = answered
        self._head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"{headers.SERVER}: {server_id}\r\n{headers.MODEL_ID}: "
        )
        self._date = ""
        self._date_until_s = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        """The route's handler; raises what the application turns into an answer."""
        payload = parse(await bodies.whole(request))
        user_id = request.match_info["user_id"]
        answer = self._plane.predict_now(user_id, payload)
        if answer is None:
            answer = await self._plane.predict(
                user_id, payload, timeout_s=deadlines.left_s(request, self._timeout_s)
            )
        return web.Response(
            body=to_json(answer.predictions, bare=payload.bare),
            content_type="application/json",
            headers={headers.MODEL_ID: headers.value_of(answer.model_id)},
        )

    def shorten(self, server: web.Server) -> None:
        """Answer what can be answered at once before `server` asks its application.

        That saves the router, the middleware and the making of headers: half of what a small
        prediction costs. Everything else goes on to the application, unchanged.
        """
        application = server.request_handler

        async def handler(request: Any) -> web.StreamResponse:
            if (
                request.method == "POST"
                and _PLAIN_TARGET.fullmatch(request.raw_path)
                and request.content.is_eof()
                and request.content.exception() is None
                and request.keep_alive
                and request.version == HttpVersion11
            ):
                body = request.content.read_nowait()
                answer = self._at_once(request.raw_path[len(_PREFIX) :], body)
                if answer is not None:
                    return answer
                request[bodies.BODY] = bodies.Body(request, self._max_body_bytes, body)
            return await application(request)

        server.request_handler = handler

    def _at_once(self, user_id: str, body: bytes) -> WholeAnswer | None:
        if len(body) > self._max_body_bytes:
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
            return None  # the application finds it again, and puts it into words
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


def to_json(predictions: Predictions, *, bare: bool) -> bytes:
    """A list, or an object with the list as ``predictions``.

    Raises:
        PredictionFailed: JSON has no such values.
    """
    dtype = predictions.dtype
    values: Any
    if dtype == np.float64 and predictions.flags.c_contiguous:
        values = predictions
    elif dtype.kind in "fiub":  # orjson writes these itself, in the machine's own byte order, to 64 bits
        native = np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")
        values = np.ascontiguousarray(predictions, dtype=native)
    else:
        values = predictions.tolist()
    try:
        return orjson.dumps(values if bare else {"predictions": values}, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise PredictionFailed(f"the predictions can't be written as JSON: {error}") from None

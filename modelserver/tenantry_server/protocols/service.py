"""What the handlers of every protocol use: the service, and bounded reading of a body."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from aiohttp import hdrs, web

from tenantry.errors import InvalidRequest
from tenantry_server.predicting.answer import Answer
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows import forecast_request, infer_request, json_payload
from tenantry_server.rows.forecast_request import ForecastRequest
from tenantry_server.rows.infer_request import InferRequest
from tenantry_server.rows.json_payload import JsonPayload
from tenantry_server.rows.large.grid import Grid
from tenantry_server.rows.payload import Payload, short
from tenantry_server.rows.series import timeseries
from tenantry_server.rows.series.timeseries import Asked
from tenantry_server.wire import bodies, deadlines, headers
from tenantry_server.wire.answers import LargeAnswer
from tenantry_server.workers.calls.large_bodies import LARGE_BYTES, LargeBodies

JSON = "application/json"  # exactly: KServe's client reads an error only where no charset follows
_LARGE_BYTES = 128 << 10  # 1 ms to parse, and as much to convert
_LARGE_VALUES = 20_000  # 2 ms to write as JSON
_T = TypeVar("_T")
_ENCODINGS = frozenset({"gzip", "deflate", "br", "zstd", "identity"})


@dataclass(frozen=True, slots=True)
class Service:
    """The inside of the server, as a protocol sees it.

    Attributes:
        plane: predicts, loads and unloads.
        predict_timeout_s: budget of one request in seconds, a cold load included.
        ready: returns whether requests should be sent here.
        registry_age_s: returns how old what it knows is, while the registry is out of reach; else None.
        large_bodies: parses bodies that take too long for a thread, too, which holds the interpreter; None:
            there are no processes for it.
    """

    plane: DataPlane
    predict_timeout_s: float
    ready: Callable[[], bool] = lambda: True
    registry_age_s: Callable[[], float | None] = lambda: None
    large_bodies: LargeBodies | None = None

    def timeout_s(self, request: web.Request) -> float:
        """Return what is left of this request's budget, in seconds."""
        return deadlines.left_s(request, self.predict_timeout_s)

    async def rows(self, body: bytes) -> JsonPayload | Grid:
        """Parse a JSON body of any of the three forms.

        Raises:
            InvalidRequest: as `json_payload.parse`.
            PredictionTimeout, WorkersUnavailable: as `LargeBodies.rows`.
        """
        if self.large_bodies is not None and len(body) > LARGE_BYTES:
            return await self.large_bodies.rows(body)
        return await self.read(body, json_payload.parse)

    async def infer(self, body: bytes, json_length: str | None) -> InferRequest:
        """Parse the body of a V2 inference request.

        Raises:
            InvalidRequest: as `infer_request.parse`.
            PredictionTimeout, WorkersUnavailable: as `LargeBodies.infer`.
        """
        if self.large_bodies is not None and infer_request.json_bytes(body, json_length) > LARGE_BYTES:
            return await self.large_bodies.infer(body, json_length)
        return await self.read(body, partial(infer_request.parse, json_length=json_length))

    async def forecast(self, body: bytes) -> ForecastRequest:
        """Parse a request for a forecast.

        Raises:
            InvalidRequest: as `forecast_request.parse`.
            PredictionTimeout, WorkersUnavailable: as `LargeBodies.forecast`.
        """
        if self.large_bodies is not None and len(body) > LARGE_BYTES:
            return await self.large_bodies.forecast(body)
        return await self.read(body, forecast_request.parse)

    async def timeseries(self, body: bytes) -> Asked:
        """Parse a request of KServe's time-series protocol.

        Raises:
            InvalidRequest: as `timeseries.parse`.
            PredictionTimeout, WorkersUnavailable: as `LargeBodies.timeseries`.
        """
        if self.large_bodies is not None and len(body) > LARGE_BYTES:
            return await self.large_bodies.timeseries(body)
        return await self.read(body, timeseries.parse)

    async def read(self, body: bytes, parse: Callable[[bytes], _T]) -> _T:
        """Parse a body, a large one beside the event loop, which others wait for.

        Raises:
            InvalidRequest: as `parse`.
        """
        return parse(body) if len(body) <= _LARGE_BYTES else await self._aside(partial(parse, body))

    async def write(self, given: Answer, render: Callable[[], _T]) -> _T:
        """Render an answer, a large one beside the event loop.

        Raises:
            PredictionFailed: as `render`.
        """
        return render() if given.predictions.size <= _LARGE_VALUES else await self._aside(render)

    async def _aside(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self.plane.aside, call)

    async def predict(
        self, user_id: str, payload: Payload, *, timeout_s: float, body: bytes = b""
    ) -> Answer:
        """Predict at once where the model is warm and quick, else when it is the request's turn.

        Args:
            body: that `payload` was read from.

        Raises:
            TenantryError: as `DataPlane.predict` says.
        """
        answer = self.plane.predict_now(user_id, payload) if len(body) <= _LARGE_BYTES else None
        if answer is not None:
            return answer
        return await self.plane.predict(user_id, payload, timeout_s=timeout_s)


SERVICE = web.AppKey("service", Service)
"""Where an application keeps it, for what comes before handlers."""


async def read_body(request: web.Request) -> bytes:
    """Return the whole body, decompressed where necessary, and never longer than the limit.

    Raises:
        InvalidRequest: its compression is unknown to this server.
        web.HTTPRequestEntityTooLarge: it is too large, compressed or not.
        web.RequestPayloadError: it is not what its headers say, or ended early.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise InvalidRequest(f"unknown Content-Encoding {short(encoding)}; send gzip or deflate")
    return await bodies.whole(request)


def answer(body: bytes, model_id: str | None = None) -> web.Response:
    """Make a 200 of JSON, with the header that names the model that answered."""
    sent: dict[str, str] = {hdrs.CONTENT_TYPE: JSON}
    if model_id is not None:
        sent[headers.MODEL_ID] = headers.value_of(model_id)
    return LargeAnswer(body=body, headers=sent)

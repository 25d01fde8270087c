"""What the handlers of a protocol are given, and the reading of a body, which is bounded."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from tenantry.errors import InvalidRequest
from tenantry_server.predicting.dataplane import Answer, DataPlane
from tenantry_server.rows.payload import Payload, short
from tenantry_server.wire import bodies, deadlines, headers

JSON = "application/json"  # exactly: KServe's client reads an error only where no charset follows
_ENCODINGS = frozenset({"gzip", "deflate", "br", "zstd", "identity"})


@dataclass(frozen=True, slots=True)
class Service:
    """The server's inside, as a protocol sees it.

    Attributes:
        plane: predicts, loads and forgets.
        predict_timeout_s: budget of one request in seconds, a cold load included.
        ready: whether this server may be asked.
    """

    plane: DataPlane
    predict_timeout_s: float
    ready: Callable[[], bool] = lambda: True

    def timeout_s(self, request: web.Request) -> float:
        """What is left of this request's budget, in seconds."""
        return deadlines.left_s(request, self.predict_timeout_s)

    async def predict(self, user_id: str, payload: Payload, *, timeout_s: float) -> Answer:
        """At once where the model is warm and cheap, else when it is its turn.

        Raises:
            TenantryError: as `DataPlane.predict` says.
        """
        answer = self.plane.predict_now(user_id, payload)
        if answer is not None:
            return answer
        return await self.plane.predict(user_id, payload, timeout_s=timeout_s)


async def read_body(request: web.Request) -> bytes:
    """The whole body, decompressed where it says so, and never more than the application's limit.

    Raises:
        InvalidRequest: it is compressed in a way that this server does not know.
        web.HTTPRequestEntityTooLarge: it is too large, compressed or not.
        web.RequestPayloadError: it is not what its headers say, or ended early.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise InvalidRequest(f"the Content-Encoding {short(encoding)} is not known; send gzip or deflate")
    return await bodies.whole(request)


def answer(body: bytes, model_id: str | None = None) -> web.Response:
    """A 200 of JSON, with the header that says which model answered."""
    sent: dict[str, str] = {hdrs.CONTENT_TYPE: JSON}
    if model_id is not None:
        sent[headers.MODEL_ID] = headers.value_of(model_id)
    return web.Response(body=body, headers=sent)

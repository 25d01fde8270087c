"""What is refused before the application sees it: what its parser refuses, odd paths, unknown expectations.

aiohttp answers the former in plain text with its versions, and logs a traceback with the offending bytes.
Here the answer is the documented JSON, and a line once a minute says how many there were, without a byte of
them: a header that breaks a rule may be a credential.

Leans on `RequestHandler.handle_error` and `log_exception` of aiohttp 3.14;
tests/integration/server/test_edges.py fails without them.
"""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from aiohttp import HttpVersion11, hdrs, http_exceptions, web

from tenantry.processes.logs import OnceAMinute
from tenantry_server.wire.answers import WholeAnswer
from tenantry_server.wire.errors import responses as error_responses

log = structlog.get_logger(__name__)

# What a user id may hold and clients encode (RFC 3986, section 2.2): @ + and :. Whatever else is encoded
# needs no encoding, or is not part of a path here.
_ODD = re.compile(r"%(?!40|2[Bb]|3[Aa])")
_ODD_V1 = re.compile(r"%(?!40|2[Bb])")  # there a colon ends the user id
_EXPECTED = "send Expect: 100-continue, or no such header"
_Handler = Callable[[Any], Awaitable[web.StreamResponse]]
_MESSAGE = "send the path as it is documented, without percent-encoding; only @ + and : may be encoded"


def is_odd(raw_path: str) -> bool:
    """Return whether a path is spelt so that a gateway may take it for another one.

    Example:
        >>> is_odd("/predict/a%40b?x=%20"), is_odd("/predict/%6fk"), is_odd("/v1/models/ok%3Apredict")
        (False, True, True)
    """
    path = raw_path.partition("?")[0]
    if "%" not in path:
        return False
    return (_ODD_V1 if "/v1/" in path else _ODD).search(path) is not None


def of_odd_path(body: error_responses.ErrorBody) -> web.Response:
    """Return the answer to such a path."""
    return error_responses.response(400, "BadRequest", _MESSAGE, body)


def knowing_expectations(handler: _Handler) -> _Handler:
    """Return a handler that refuses what a client expects and this server does not know (RFC 9110, 10.1.1).

    aiohttp would answer in plain text, quoting the header, and fails where that is not ASCII.
    """

    async def known(request: Any) -> web.StreamResponse:
        expected = request.headers.get(hdrs.EXPECT)
        if expected is None or expected.lower() == "100-continue" or request.version != HttpVersion11:
            return await handler(request)
        answer = error_responses.response(417, "ExpectationFailed", _EXPECTED, error_responses.native)
        answer.force_close()  # the client may leave out the body, or send it
        return answer

    return known


class Minute:
    """Counts what is refused, and logs it once a minute.

    Args:
        clock_s: seconds, never going back.
        event: what the line says.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._log = OnceAMinute(log, "requests refused that are not HTTP", clock_s)

    def add(self, kind: str) -> None:
        """Count one, and log all since the last line where that was a minute ago."""
        self._log.warning(latest=kind)


class _Last(WholeAnswer):
    """The last answer on its connection."""

    @property
    def keep_alive(self) -> bool | None:
        """Always False: where the next request would begin is not known."""
        return False


class Connection(web.RequestHandler):
    """A connection whose errors are answered in the documented form."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Answer what the parser refused, and close the connection."""
        if isinstance(exc, http_exceptions.HttpProcessingError):
            _MINUTE.add(type(exc).__name__)
        else:
            self.log_exception("Error handling request from %s", request.remote, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun, so there can't be another one")
        reason, words = _WORDS.get(status, _WORDS[500])
        content = orjson.dumps(error_responses.native(reason, words))
        head = (
            f"HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}\r\nContent-Type: application/json\r\n"
            f"Tenantry-Reason: {reason}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        return _Last(head.encode() + content, len(content), status)


_MINUTE = Minute()  # of this process
_PHRASES = {400: "Bad Request", 500: "Internal Server Error"}
_WORDS = {
    400: ("BadRequest", "this is not a request of HTTP/1.1 that this server reads (RFC 9112)"),
    500: ("InternalError", "this server failed on the request; its log says why"),
}

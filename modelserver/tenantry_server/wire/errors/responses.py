"""The only place where an error becomes an HTTP status and a body."""

import math
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import hdrs, web

from tenantry import TenantryError, errors
from tenantry_server.wire.headers import REASON, RETRY_AFTER_MS

ErrorBody = Callable[[str, str], Any]
"""From a reason and a message to the JSON document with which a protocol answers an error."""

_STATUS: tuple[tuple[type[TenantryError], int], ...] = (
    (errors.ModelNotAssigned, 404),
    (errors.CardNotFound, 404),
    (errors.ModelNotReady, 503),
    (errors.ModelLoading, 503),
    (errors.ModelMoving, 503),
    (errors.ArtifactError, 503),
    (errors.ModelTooLarge, 507),
    (errors.MemoryTaken, 503),
    (errors.ModelCrashed, 500),
    (errors.ModelQuarantined, 503),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.QuotaExceeded, 429),
    (errors.RowsTooMany, 413),
    (errors.BatchTooLong, 413),
    (errors.AnswerTooLarge, 413),
    (errors.UnknownMediaType, 415),
    (errors.InvalidRequest, 422),
    (errors.PredictionFailed, 500),
    (errors.ServersLost, 500),
    (errors.BodyTimeout, 408),
    (errors.BodiesTooMany, 503),
    (errors.PredictionTimeout, 504),
    (errors.RegistryUnavailable, 503),
    (errors.LeaseLost, 503),
    (errors.WorkersUnavailable, 503),
)
_RETRY_AFTER_S = 1
_OVER_RATE = f"HTTP/1.1 429 Too Many Requests\r\n{REASON}: {errors.QuotaExceeded.reason}\r\n"
_LONGEST_S = 1e6  # days: a rate may be as small as one request a year
_STORES = ("s3://", "file://")


def native(reason: str, message: str) -> Any:
    """Return the body of Tenantry's own protocol."""
    return {"error": {"reason": reason, "message": message}}


def kserve(_reason: str, message: str) -> Any:
    """Return the body of KServe's protocols, V1 and V2, whose clients show this text."""
    return {"error": message}


def of_error(error: TenantryError, body: ErrorBody) -> web.Response:
    """Return the answer to a request that failed with an error of ours."""
    status, message = status_of(error), _public(error)
    if status == 401:  # RFC 6750, section 3
        return response(status, error.reason, message, body, {hdrs.WWW_AUTHENTICATE: "Bearer"})
    if isinstance(error, errors.QuotaExceeded):
        return response(status, error.reason, message, body, _in_time(error.wait_s))
    if status == 503 and not error.retryable:  # a client would ask again and again
        return response(status, error.reason, message, body, retry=False)
    if error.retry_after_s is None or status != 503:
        return response(status, error.reason, message, body)
    wait_s = max(1, math.ceil(error.retry_after_s))
    message += f"; the next attempt is in {wait_s} s"
    return response(status, error.reason, message, body, {"Retry-After": str(wait_s)})


def over_rate(error: errors.QuotaExceeded, body: ErrorBody) -> tuple[str, bytes]:
    """Return what `of_error` answers beyond a user's rate: the first lines of a head, and a body.

    The lines end with the content type, without a line break behind it.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in _in_time(error.wait_s).items())
    return f"{_OVER_RATE}{lines}Content-Type: application/json", orjson.dumps(
        body(error.reason, _public(error))
    )


def _in_time(wait_s: float) -> dict[str, str]:
    """Return the headers that say when to ask again: HTTP's own has whole seconds only."""
    wait_s = min(wait_s, _LONGEST_S)
    return {
        "Retry-After": str(max(1, math.ceil(wait_s))),
        RETRY_AFTER_MS: str(max(1, math.ceil(wait_s * 1e3))),
    }


def status_of(error: TenantryError) -> int:
    """Return the HTTP status of an error."""
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 500)


def words_of(error: TenantryError) -> str:
    """Return the message of an error that is one of several in an answer, without headers of its own."""
    message = _public(error)
    if error.retry_after_s is None or status_of(error) != 503 or not error.retryable:
        return message
    return f"{message}; the next attempt is in {max(1, math.ceil(error.retry_after_s))} s"


def _public(error: TenantryError) -> str:
    """Return the message of an error, unless it says where an artifact lies: that is for admins."""
    message = error.for_clients
    if not any(scheme in message for scheme in _STORES):
        return message
    return (
        f"the model can't be loaded ({error.reason}); an admin sees why in the log, or with `tenantry get`"
    )


def of_http(request: web.Request, error: web.HTTPException, body: ErrorBody) -> web.Response:
    """Return the answer to a request that aiohttp refused: no such route, wrong method, too large."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        message = f"{(error.text or '').rstrip('.')}; send fewer rows at a time"
        answer = response(413, "RequestTooLarge", message, body)
        if hdrs.CONTENT_ENCODING in request.headers:
            # The rest would be decompressed only to be dropped: half a second for 200 MB in 200 KB.
            request.content.feed_eof()
            answer.force_close()
        return answer
    hint = f"{request.method} {request.path}: {error.reason}"
    if error.status == 404:
        hint += "; predictions are at POST /predict/{user_id}"
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return response(error.status, (error.reason or "Error").replace(" ", ""), hint, body, allow)


def of_broken_body(request: web.Request, error: web.RequestPayloadError, body: ErrorBody) -> web.Response:
    """Return the answer to a body that ended early, or was not what its headers said."""
    request.content.feed_eof()  # there is nothing left that aiohttp could read to the end
    problem = str(error.__cause__ or error).split("\n")[-1].strip()
    answer = response(400, "BadRequest", f"can't read the body: {problem}", body)
    answer.force_close()
    return answer


def response(
    status: int,
    reason: str,
    message: str,
    body: ErrorBody,
    headers: dict[str, str] | None = None,
    *,
    retry: bool = True,
) -> web.Response:
    """Return an error in a protocol's own form; its reason is a header too, and 503 says when to retry.

    Args:
        retry: time alone may mend the cause of a 503.
    """
    kept = {REASON: reason}
    if status == 503 and retry:
        kept["Retry-After"] = str(_RETRY_AFTER_S)
    return web.Response(
        status=status,
        body=orjson.dumps(body(reason, message)),
        content_type="application/json",
        headers=kept | (headers or {}),
    )

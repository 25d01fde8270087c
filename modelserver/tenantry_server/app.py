"""The aiohttp application: routes, and the only place where an error becomes an HTTP status."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import orjson
import structlog
from aiohttp import web

from tenantry import TenantryError, errors
from tenantry.model import Predictions
from tenantry_server.dataplane import DataPlane
from tenantry_server.json_payload import parse
from tenantry_server.metrics import CONTENT_TYPE, ServerMetrics
from tenantry_server.model_info import ModelInfoRepository
from tenantry_server.repositories import ModelRepository

log = structlog.get_logger(__name__)

_STATUS: tuple[tuple[type[TenantryError], int], ...] = (
    (errors.ModelNotAssigned, 404),
    (errors.ModelNotReady, 503),
    (errors.ArtifactError, 503),
    (errors.ModelTooLarge, 507),
    (errors.InvalidRequest, 422),
    (errors.PredictionFailed, 500),
    (errors.PredictionTimeout, 504),
    (errors.RegistryUnavailable, 503),
)
_RETRY_AFTER_S = "1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(  # noqa: PLR0913 - each has a default that a small server keeps
    model_info_repository: ModelInfoRepository,
    model_repository: ModelRepository,
    *,
    server_id: str = "server-0",
    predict_timeout_s: float = 10.0,
    max_body_bytes: int = 8 << 20,
    data_plane: DataPlane | None = None,
    ready: Callable[[], bool] = lambda: True,
    registry_age_s: Callable[[], float | None] = lambda: None,
) -> web.Application:
    """A server of every user's own model, ready for `aiohttp.web.run_app`.

    Routes: ``POST /predict/{user_id}``, ``GET /healthz``, ``GET /readyz``, ``GET /metrics``. Every error
    is JSON, ``{"error": {"reason": …, "message": …}}``.

    Args:
        model_info_repository: whose model.
        model_repository: the models; wrap it in a CachedModelRepository.
        server_id: shown in the header Tenantry-Server.
        predict_timeout_s: for one request, a cold load included.
        max_body_bytes: a larger body is answered with 413.
        data_plane: made of the two repositories where it is None, and closed with the application.
        ready: what /readyz answers.
        registry_age_s: shown in a header where it is not None: how old the knowledge is that
            answers, while the registry is out of reach.

    Example:
        >>> from tenantry_server import FileSystemModelRepository, SQLAlchemyModelInfoRepository
        >>> from tenantry.registry import open_engine
        >>> app = make_app(
        ...     SQLAlchemyModelInfoRepository(open_engine("sqlite://")), FileSystemModelRepository()
        ... )
        >>> sorted({route.resource.canonical for route in app.router.routes()})
        ['/healthz', '/metrics', '/predict/{user_id}', '/readyz']
    """
    plane = data_plane or DataPlane(model_info_repository, model_repository)
    metrics = ServerMetrics(model_repository)

    async def predict(request: web.Request) -> web.Response:
        payload = parse(await request.read())
        user_id = request.match_info["user_id"]
        answer = await plane.predict(user_id, payload, timeout_s=predict_timeout_s)
        headers = {"Tenantry-Model-Id": answer.model_id}
        return _json(answer.predictions, bare=payload.bare, headers=headers)

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        if ready():
            return web.json_response({"status": "ready"})
        return _error(503, "NotReady", "the registry has not been read yet")

    async def show_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def closed(_app: web.Application) -> AsyncIterator[None]:
        yield
        plane.close()

    app = web.Application(
        client_max_size=max_body_bytes, middlewares=[_errors_as_json(server_id, metrics, registry_age_s)]
    )
    app.router.add_post("/predict/{user_id}", predict)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics)
    app.cleanup_ctx.append(closed)
    return app


def _errors_as_json(
    server_id: str, metrics: ServerMetrics, registry_age_s: Callable[[], float | None]
) -> Any:
    """Answers every failure in one form, and counts and logs predictions."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began_s = time.perf_counter()
        response = await _answered(request, handler)
        response.headers["Tenantry-Server"] = server_id
        if request.method == "POST" and request.path.startswith("/predict/"):
            age_s = registry_age_s()
            if age_s is not None:
                response.headers["Tenantry-Registry-Age"] = str(int(age_s))
            seconds = time.perf_counter() - began_s
            metrics.answered(response.status, seconds)
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                ms = round(seconds * 1e3, 2)
                log.debug("predict", path=request.path, status=response.status, ms=ms)
        return response

    return middleware


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except TenantryError as error:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        if status == 500:
            log.warning("prediction failed", path=request.path, error=str(error))
        return _error(status, error.reason, str(error))
    except web.HTTPRequestEntityTooLarge as error:
        return _error(
            413, "RequestTooLarge", f"{(error.text or '').rstrip('.')}; send fewer rows at a time"
        )
    except web.RequestPayloadError as error:
        request.content.feed_eof()  # there is nothing left that aiohttp could read to the end
        problem = str(error.__cause__ or error).split("\n")[-1].strip()
        response = _error(400, "BadRequest", f"the body could not be read: {problem}")
        response.force_close()
        return response
    except web.HTTPException as error:
        hint = f"{request.method} {request.path}: {error.reason}"
        if error.status == 404:
            hint += "; predictions are at POST /predict/{user_id}"
        return _error(error.status, (error.reason or "Error").replace(" ", ""), hint, error.headers)
    except ConnectionError:
        raise
    except Exception:
        log.exception("request failed", path=request.path)
        return _error(500, "InternalError", "this server failed on the request; its log says why")


def _error(status: int, reason: str, message: str, headers: Any = None) -> web.Response:
    kept = {"Retry-After": _RETRY_AFTER_S} if status == 503 else {}
    if headers is not None and "Allow" in headers:
        kept["Allow"] = headers["Allow"]
    return web.Response(
        status=status,
        body=orjson.dumps({"error": {"reason": reason, "message": message}}),
        content_type="application/json",
        headers=kept,
    )


def _json(predictions: Predictions, *, bare: bool, headers: dict[str, str]) -> web.Response:
    dtype = predictions.dtype
    values: Any
    if dtype.kind in "fiub":  # orjson writes these itself, in the machine's own byte order, to 64 bits
        native = np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")
        values = np.ascontiguousarray(predictions, dtype=native)
    else:
        values = predictions.tolist()
    try:
        body = orjson.dumps(values if bare else {"predictions": values}, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise errors.PredictionFailed(f"the predictions can't be written as JSON: {error}") from None
    return web.Response(body=body, content_type="application/json", headers=headers)

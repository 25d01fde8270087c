"""The calls of the Open Inference Protocol, each answered by this server's application."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import grpc
import orjson
from google.protobuf.message import DecodeError

from tenantry import TenantryError
from tenantry.errors import BodiesTooMany, BodyTimeout, InvalidRequest
from tenantry_server.grpc_v2 import translating
from tenantry_server.grpc_v2.arrivals import Arrivals
from tenantry_server.grpc_v2.asking import Application, HttpAnswer, Lost
from tenantry_server.grpc_v2.messages import SERVICE, message
from tenantry_server.wire import headers
from tenantry_server.wire.heads import JSON_LENGTH

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_OWN_CODES: dict[type[TenantryError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    BodyTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    BodiesTooMany: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_SAID = (headers.REASON, headers.RETRY_AFTER_MS, headers.SERVER)


class Refused(Exception):
    """A call that ends with a status."""

    def __init__(self, code: grpc.StatusCode, words: str, answer: HttpAnswer | None = None) -> None:
        super().__init__(words)
        self.code = code
        self.said = () if answer is None else _trailers(answer)


class Calls:
    """What each call of the protocol does.

    Args:
        application: answers requests of V2.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def live(self, _asked: Any, context: Context) -> Any:
        """ServerLive."""
        await self._get("/v2/health/live", context)
        return message("ServerLiveResponse")(live=True)

    async def ready(self, _asked: Any, context: Context) -> Any:
        """ServerReady: false while the server is not, and no error."""
        answer = await self._ask("GET", "/v2/health/ready", b"", context)
        return message("ServerReadyResponse")(ready=answer.status == 200)

    async def model_ready(self, asked: Any, context: Context) -> Any:
        """ModelReady: false where a version is on its way; an unknown user is an error."""
        path = translating.path_of(asked.name, asked.version, "/ready")
        answer = await self._ask("GET", path, b"", context)
        if answer.status not in (200, 503):
            raise _refusal(answer)
        return message("ModelReadyResponse")(ready=answer.status == 200)

    async def server(self, _asked: Any, context: Context) -> Any:
        """ServerMetadata."""
        return message("ServerMetadataResponse")(**orjson.loads((await self._get("/v2", context)).body))

    async def metadata(self, asked: Any, context: Context) -> Any:
        """ModelMetadata."""
        path = translating.path_of(asked.name, asked.version, "")
        return translating.metadata_response(await self._get(path, context))

    async def infer(self, asked: Any, context: Context) -> Any:
        """ModelInfer."""
        path = translating.path_of(asked.model_name, asked.model_version, "/infer")
        body, json_bytes = translating.body_of(asked)
        answer = await self._answered("POST", path, body, context, f"{JSON_LENGTH}: {json_bytes}\r\n")
        return translating.infer_response(answer, raw=bool(asked.raw_input_contents) or not asked.inputs)

    async def stream(self, asked: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """ModelStreamInfer: answers in the order of the requests; one that fails ends nothing."""
        answered = message("ModelStreamInferResponse")
        async for given in asked:
            about = {}
            try:
                each = _parsed("ModelInferRequest", given)
                about = {"model_name": each.model_name, "id": each.id}
                yield answered(infer_response=await self.infer(each, context))
            except (Refused, TenantryError, Lost) as error:
                yield answered(error_message=str(error), infer_response=about)

    async def index(self, asked: Any, context: Context) -> Any:
        """RepositoryIndex."""
        body = orjson.dumps({"ready": asked.ready})
        return translating.index_response(
            await self._answered("POST", "/v2/repository/index", body, context)
        )

    async def change(self, asked: Any, context: Context, *, what: str, answered: str) -> Any:
        """RepositoryModelLoad and RepositoryModelUnload."""
        path = translating.path_of(asked.model_name, "", f"/{what}").replace(
            "/models/", "/repository/models/", 1
        )
        await self._answered("POST", path, b"", context)
        return message(answered)()

    async def _get(self, path: str, context: Context) -> HttpAnswer:
        return await self._answered("GET", path, b"", context)

    async def _answered(
        self, method: str, path: str, body: bytes, context: Context, more: str = ""
    ) -> HttpAnswer:
        answer = await self._ask(method, path, body, context, more)
        if answer.status != 200:
            raise _refusal(answer)
        return answer

    async def _ask(
        self, method: str, path: str, body: bytes, context: Context, more: str = ""
    ) -> HttpAnswer:
        head = translating.head_of(
            method,
            path,
            context.invocation_metadata() or (),
            length=len(body),
            timeout_s=context.time_remaining(),
        )
        return await self._application.ask(head + more.encode() + b"\r\n", body)


def _refusal(answer: HttpAnswer) -> Refused:
    return Refused(translating.code_of(answer.status), translating.words_of(answer), answer)


def _trailers(answer: HttpAnswer) -> tuple[tuple[str, str], ...]:
    """Return what an answer says of itself, as metadata of gRPC."""
    return tuple(
        (name.lower(), answer.headers[name.lower()]) for name in _SAID if name.lower() in answer.headers
    )


Call: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
Handler: TypeAlias = Callable[[AsyncIterator[Any], Context], Awaitable[Any]]


def _guarded(call: Call, name: str, arrivals: Arrivals) -> Handler:
    """Have a call end with a status that says what was seen, whatever happens in it.

    To gRPC it is one whose requests are a stream: that of one message is written alike, and its handler
    runs before the message is here, so that it need not be waited for without end.
    """

    async def guarded(asked: AsyncIterator[Any], context: Context) -> Any:
        try:
            return await call(_parsed(name, await arrivals.whole(anext(asked))), context)
        except Refused as refused:
            await context.abort(refused.code, str(refused), refused.said)
        except (BodyTimeout, BodiesTooMany, InvalidRequest) as error:
            said = ((headers.REASON.lower(), error.reason),)
            await context.abort(_OWN_CODES[type(error)], str(error), said)
        except StopAsyncIteration:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended before it had a message")
        except Lost:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this server is stopping; ask another one")

    return guarded


def handlers(calls: Calls, arrivals: Arrivals) -> grpc.GenericRpcHandler:
    """Return what gRPC calls for each call of the protocol."""
    load = partial(calls.change, what="load", answered="RepositoryModelLoadResponse")
    unload = partial(calls.change, what="unload", answered="RepositoryModelUnloadResponse")
    unary: dict[str, Call] = {
        "ServerLive": calls.live,
        "ServerReady": calls.ready,
        "ModelReady": calls.model_ready,
        "ServerMetadata": calls.server,
        "ModelMetadata": calls.metadata,
        "ModelInfer": calls.infer,
        "RepositoryIndex": calls.index,
        "RepositoryModelLoad": load,
        "RepositoryModelUnload": unload,
    }

    async def stream(asked: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        try:
            with arrivals.stream():
                async for answered in calls.stream(arrivals.following(asked), context):
                    yield answered
        except BodiesTooMany:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams are open; send single calls instead"
            )

    made: dict[str, Any] = {
        name: grpc.stream_unary_rpc_method_handler(
            _guarded(call, f"{name}Request", arrivals), None, _written
        )
        for name, call in unary.items()
    }
    made["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(stream, None, _written)
    return grpc.method_handlers_generic_handler(SERVICE, made)


def _parsed(name: str, given: bytes) -> Any:
    try:
        return message(name).FromString(given)
    except DecodeError:
        raise InvalidRequest(f"the message is not a {name}") from None


def _written(given: Any) -> bytes:
    return bytes(given.SerializeToString())

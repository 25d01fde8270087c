"""The port: calls of the Open Inference Protocol, each answered by this server's application."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import grpc
import orjson
import structlog

from tenantry import TenantryError
from tenantry.certificates import Files, signature
from tenantry.certificates import read as check
from tenantry.errors import InvalidRequest, InvalidSetting
from tenantry_server.grpc_v2 import translating
from tenantry_server.grpc_v2.asking import Application, HttpAnswer, Lost
from tenantry_server.grpc_v2.messages import SERVICE, message
from tenantry_server.wire import headers
from tenantry_server.wire.heads import JSON_LENGTH

log = structlog.get_logger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_LARGER = 1 << 16  # what a message has beside its tensors
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
        answer = await self._ask("POST", path, body, context, f"{JSON_LENGTH}: {json_bytes}\r\n")
        if answer.status != 200:
            raise _refusal(answer)
        return translating.infer_response(answer, raw=bool(asked.raw_input_contents) or not asked.inputs)

    async def stream(self, asked: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """ModelStreamInfer: answers in the order of the requests; one that fails ends nothing."""
        answered = message("ModelStreamInferResponse")
        async for each in asked:
            try:
                yield answered(infer_response=await self.infer(each, context))
            except (Refused, TenantryError, Lost) as error:
                yield answered(
                    error_message=str(error), infer_response={"model_name": each.model_name, "id": each.id}
                )

    async def index(self, asked: Any, context: Context) -> Any:
        """RepositoryIndex."""
        body = orjson.dumps({"ready": asked.ready})
        answer = await self._ask("POST", "/v2/repository/index", body, context)
        if answer.status != 200:
            raise _refusal(answer)
        return translating.index_response(answer)

    async def change(self, asked: Any, context: Context, *, what: str, answered: str) -> Any:
        """RepositoryModelLoad and RepositoryModelUnload."""
        path = translating.path_of(asked.model_name, "", f"/{what}").replace(
            "/models/", "/repository/models/", 1
        )
        answer = await self._ask("POST", path, b"", context)
        if answer.status != 200:
            raise _refusal(answer)
        return message(answered)()

    async def _get(self, path: str, context: Context) -> HttpAnswer:
        answer = await self._ask("GET", path, b"", context)
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


def _guarded(call: Call) -> Call:
    """Have a call end with a status that says what was seen, whatever happens in it."""

    async def guarded(asked: Any, context: Context) -> Any:
        try:
            return await call(asked, context)
        except Refused as refused:
            await context.abort(refused.code, str(refused), refused.said)
        except InvalidRequest as error:
            said = ((headers.REASON.lower(), error.reason),)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error), said)
        except Lost:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this server is stopping; ask another one")

    return guarded


def _handlers(calls: Calls) -> grpc.GenericRpcHandler:
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
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _guarded(call), message(f"{name}Request").FromString, _written
        )
        for name, call in unary.items()
    }
    handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
        calls.stream, message("ModelInferRequest").FromString, _written
    )
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _written(given: Any) -> bytes:
    return bytes(given.SerializeToString())


def _credentials(files: Files) -> grpc.ServerCredentials:
    """Return what a port shows of itself: what the files say now, or said when they could be read last."""
    seen = signature(files)

    def read() -> Any:
        assert files.cert is not None  # noqa: S101 - for the type checker
        assert files.key is not None  # noqa: S101 - as above
        return grpc.ssl_server_certificate_configuration(
            [(files.key.read_bytes(), files.cert.read_bytes())]
        )

    def changed() -> Any:
        nonlocal seen
        now = signature(files)
        if now == seen:
            return None
        try:
            check(files)
            given = read()
        except (InvalidSetting, OSError):
            return None  # the log says so for HTTP; gRPC goes on with the former ones
        seen = now
        return given

    return grpc.dynamic_ssl_server_credentials(read(), changed)


class Port:
    """A gRPC server in the event loop of this process.

    Args:
        application: answers requests of V2.
        max_bytes: of one message's tensors; a larger message is refused by gRPC itself.
        shared: whether other servers of this machine listen on the same port.
    """

    def __init__(self, application: Application, *, max_bytes: int, shared: bool = False) -> None:
        self._application = application
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_bytes + _LARGER),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(shared)),
            ]
        )
        self._server.add_generic_rpc_handlers((_handlers(Calls(application)),))

    async def open(self, address: str, files: Files | None = None) -> int:
        """Listen and answer.

        Args:
            address: host and port; port 0: one that the system chooses.
            files: the certificate and its key, read again for a new connection when they have changed;
                None: there is no TLS.

        Returns:
            the port.

        Raises:
            OSError: the address can't be listened on.
        """
        try:
            if files is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, _credentials(files))
        except RuntimeError as error:
            raise OSError(f"gRPC can't listen on {address}: {error}") from None
        await self._server.start()
        log.info("serving gRPC", address=address, port=port)
        return port

    async def close(self, grace_s: float) -> None:
        """Accept nothing more; calls under way have so many seconds to end."""
        await self._server.stop(grace_s)
        self._application.close()

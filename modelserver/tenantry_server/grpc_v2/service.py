"""The calls of the Open Inference Protocol: each as a request to this server's application, and back."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import orjson
from google.protobuf.message import DecodeError

from tenantry.errors import InvalidRequest
from tenantry_server.grpc_v2 import translating
from tenantry_server.grpc_v2.asking import HttpAnswer
from tenantry_server.grpc_v2.messages import message
from tenantry_server.grpc_v2.statuses import Status, code_of
from tenantry_server.wire import headers
from tenantry_server.wire.heads import JSON_LENGTH

STREAMED = "ModelStreamInfer"
"""The call whose requests and answers are streams."""

_SAID = (headers.REASON, headers.RETRY_AFTER_MS, headers.SERVER)


class Refused(Exception):
    """A call that ends with a status."""

    def __init__(self, answer: HttpAnswer) -> None:
        super().__init__(translating.words_of(answer))
        self.code: Status = code_of(answer.status)
        named = ((name.lower(), answer.headers.get(name.lower())) for name in _SAID)
        self.said = tuple((name, value) for name, value in named if value is not None)


class Request(NamedTuple):
    """A request to the application.

    Attributes:
        lines: of its head, a line break after each.
    """

    method: str
    path: str
    body: bytes = b""
    lines: str = ""


class Rpc(NamedTuple):
    """One call of the protocol.

    Attributes:
        reads, writes: the names of its messages.
        ask: makes a request of a message; raises InvalidRequest.
        answer: makes a message of a request's message and answer; raises Refused.
    """

    reads: str
    writes: str
    ask: Callable[[Any], Request]
    answer: Callable[[Any, HttpAnswer], Any]

    def parsed(self, given: bytes) -> Any:
        """Read a message.

        Raises:
            InvalidRequest: the bytes are not one.
        """
        try:
            return message(self.reads).FromString(given)
        except DecodeError:
            raise InvalidRequest(f"the message is not a {self.reads}") from None

    def made(self, **fields: Any) -> Any:
        """Return an answer of these fields."""
        return message(self.writes)(**fields)


def rpcs() -> dict[str, Rpc]:
    """Return each call by its name."""
    made = (
        _of_server("ServerLive", "/v2/health/live", lambda answer: {"live": _ok(answer).status == 200}),
        _of_server("ServerReady", "/v2/health/ready", lambda answer: {"ready": answer.status == 200}),
        _of_server("ServerMetadata", "/v2", lambda answer: orjson.loads(_ok(answer).body)),
        _rpc("ModelReady", _model_ready, _is_ready),
        _rpc("ModelMetadata", _metadata, lambda _, answer: translating.metadata_response(_ok(answer))),
        _rpc("ModelInfer", _infer, _inferred),
        Rpc("ModelInferRequest", "ModelStreamInferResponse", _infer, _inferred),
        _rpc("RepositoryIndex", _index, lambda _, answer: translating.index_response(_ok(answer))),
        _change("RepositoryModelLoad", "load"),
        _change("RepositoryModelUnload", "unload"),
    )
    return {each.writes.removesuffix("Response"): each for each in made}


def _rpc(name: str, ask: Callable[[Any], Request], answer: Callable[[Any, HttpAnswer], Any]) -> Rpc:
    return Rpc(f"{name}Request", f"{name}Response", ask, answer)


def _of_server(name: str, path: str, fields: Callable[[HttpAnswer], dict[str, Any]]) -> Rpc:
    request, made = Request("GET", path), message(f"{name}Response")
    return _rpc(name, lambda _: request, lambda _, answer: made(**fields(answer)))


def _change(name: str, what: str) -> Rpc:
    made = message(f"{name}Response")

    def answer(_asked: Any, answered: HttpAnswer) -> Any:
        _ok(answered)
        return made()

    return _rpc(name, partial(_changed, what), answer)


def _changed(what: str, asked: Any) -> Request:
    path = translating.path_of(asked.model_name, "", f"/{what}")
    return Request("POST", path.replace("/models/", "/repository/models/", 1))


def _model_ready(asked: Any) -> Request:
    return Request("GET", translating.path_of(asked.name, asked.version, "/ready"))


def _is_ready(_asked: Any, answer: HttpAnswer) -> Any:
    """Say false where a version is on its way; an unknown user is an error."""
    if answer.status not in (200, 503):
        raise Refused(answer)
    return message("ModelReadyResponse")(ready=answer.status == 200)


def _metadata(asked: Any) -> Request:
    return Request("GET", translating.path_of(asked.name, asked.version, ""))


def _index(asked: Any) -> Request:
    return Request("POST", "/v2/repository/index", orjson.dumps({"ready": asked.ready}))


def _infer(asked: Any) -> Request:
    path = translating.path_of(asked.model_name, asked.model_version, "/infer")
    body, json_bytes = translating.body_of(asked)
    return Request("POST", path, body, f"{JSON_LENGTH}: {json_bytes}\r\n")


def _inferred(asked: Any, answer: HttpAnswer) -> Any:
    raw = bool(asked.raw_input_contents) or not asked.inputs
    return translating.infer_response(_ok(answer), raw=raw)


def _ok(answer: HttpAnswer) -> HttpAnswer:
    if answer.status != 200:
        raise Refused(answer)
    return answer

"""The body of a V2 inference request: JSON, and the binary extension's bytes behind it.

Knows neither HTTP nor models. What a body claims is checked against the bytes that are there before
anything is made of it, so that no claim takes memory.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from tenantry.errors import InvalidRequest
from tenantry_server.rows import datatypes, tensors
from tenantry_server.rows.payload import refuse_double_keys, short
from tenantry_server.rows.tensors import Tensor, Tensors

_NONE: dict[str, Any] = {}
_OBJECTS = frozenset({dict})
_LONGEST_LENGTH = 12  # digits of a plausible length


@dataclass(slots=True)  # frozen costs 1 us a request
class InferRequest:
    """A parsed inference request.

    Attributes:
        tensors: the rows.
        request_id: to be repeated in the answer; None where there was none.
        outputs: the requested names and whether each is to be binary; None: all outputs.
        binary: whether outputs are to be binary, where `outputs` does not say.
    """

    tensors: Tensors
    request_id: str | None
    outputs: list[tuple[str, bool]] | None
    binary: bool


def parse(body: bytes, json_length: str | None) -> InferRequest:
    """Read the body of an inference request.

    Args:
        json_length: the header Inference-Header-Content-Length; None: all of the body is JSON.

    Raises:
        InvalidRequest: names the part that breaks the protocol.
    """
    length = json_bytes(body, json_length)
    text = body if json_length is None else memoryview(body)[:length]
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"the {'body' if text is body else 'JSON part'} is not JSON: {error}"
        ) from None
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object with 'inputs'")
    inputs = _objects(document, "inputs")
    if not inputs:
        raise InvalidRequest("'inputs' must be a list of one tensor at least")
    binary = None if json_length is None else _Sections(memoryview(body), length)
    if len(inputs) == 1:
        given = Tensors([_tensor(inputs[0], binary)])
    else:
        given = Tensors([_tensor(entry, binary) for entry in inputs])
    if binary is not None:
        binary.check_end()
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequest("'id' must be a string")
    all_binary = "parameters" in document and _flag(
        _parameters(document), "binary_data_output", default=False
    )
    outputs = _objects(document, "outputs") if "outputs" in document else []
    wanted = [_output(entry, all_binary) for entry in outputs] if outputs else None
    if body.count(b'"', 0, length) != _quotes(document, inputs, outputs):
        refuse_double_keys(bytes(text))
    return InferRequest(given, request_id, wanted, all_binary)


def json_bytes(body: bytes, json_length: str | None) -> int:
    """Return how much of a body is JSON, in bytes; takes what `parse` takes.

    Raises:
        InvalidRequest: the header is not a length, or the body is shorter.
    """
    return len(body) if json_length is None else _length(json_length, len(body))


class _Sections:
    """The bytes behind the JSON, read one section after the other."""

    def __init__(self, body: memoryview, start: int) -> None:
        self._body = body
        self._position = start

    def take(self, name: str, size: Any) -> memoryview:
        left = len(self._body) - self._position
        if type(size) is not int or size < 0:
            raise InvalidRequest(f"input {short(name)}: 'binary_data_size' must be a count of bytes")
        if size > left:
            raise InvalidRequest(
                f"input {short(name)}: 'binary_data_size' is {size}, and {left} bytes are left of the body"
            )
        start = self._position
        self._position += size
        return self._body[start : self._position]

    def check_end(self) -> None:
        left = len(self._body) - self._position
        if left:
            raise InvalidRequest(f"{left} bytes at the end of the body belong to no input")


def _length(header: str, body_bytes: int) -> int:
    if not (header.isascii() and header.isdigit() and len(header) <= _LONGEST_LENGTH):
        raise InvalidRequest(f"Inference-Header-Content-Length must be a number, got {short(header)}")
    length = int(header)
    if length > body_bytes:
        raise InvalidRequest(
            f"Inference-Header-Content-Length is {length}, the body has {body_bytes} bytes"
        )
    return length


def _tensor(entry: dict[str, Any], binary: _Sections | None) -> Tensor:
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str):
        raise InvalidRequest("every input must have a 'name'")
    if not isinstance(datatype, str):
        raise InvalidRequest(f"input {short(name)} must have a 'datatype'")
    parameters = _parameters(entry) if "parameters" in entry else _NONE
    if "binary_data_size" in parameters:
        if binary is None:
            raise InvalidRequest(
                f"input {short(name)} claims to be binary, and the header "
                "Inference-Header-Content-Length does not say where the JSON ends"
            )
        if "data" in entry:
            raise InvalidRequest(f"input {short(name)}: give either 'data' or 'binary_data_size'")
        data = binary.take(name, parameters["binary_data_size"])
        return tensors.from_binary(name, datatype, shape, data)
    if "data" not in entry:
        raise InvalidRequest(f"input {short(name)} has neither 'data' nor 'binary_data_size'")
    return tensors.from_json(name, datatype, shape, entry["data"])


def _output(entry: dict[str, Any], binary: bool) -> tuple[str, bool]:
    name = entry.get("name")
    if not isinstance(name, str):
        raise InvalidRequest("every output must have a 'name'")
    parameters = _parameters(entry)
    if parameters.get("classification"):
        raise InvalidRequest(f"output {short(name)}: 'classification' is not offered; sort the answer")
    return name, _flag(parameters, "binary_data", default=binary)


def _parameters(entry: dict[str, Any]) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest("'parameters' must be an object")
    return parameters


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name!r} must be true or false")
    return value


def _objects(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = document.get(name)
    if not isinstance(entries, list) or not _OBJECTS.issuperset(map(type, entries)):
        raise InvalidRequest(f"{name!r} must be a list of objects")
    return entries


def _quotes(document: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> int:
    """Count the quotation marks of a plain request that holds exactly these keys and strings.

    Every string that orjson kept has two in the text, so that a text with no more than these has no
    key that was dropped because it stands twice. Numbers, which are most of a body, need no check.
    """
    strings = _strings(document)
    for entry in outputs:
        strings += _strings(entry)
    for entry in inputs:
        strings += _strings(entry)
        data = entry.get("data")
        if data and entry["datatype"] == datatypes.TEXT:
            texts = data if type(data[0]) is not list else [text for row in data for text in row]
            strings += len(texts) - texts.count(None)
    return 2 * strings


def _strings(entry: dict[str, Any]) -> int:
    """Return the keys and string values of an object and of its parameters."""
    total = len(entry) + [*map(type, entry.values())].count(str)
    parameters = entry.get("parameters")
    if parameters:
        total += _strings(parameters)
    return total

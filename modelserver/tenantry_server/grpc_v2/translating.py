"""From calls of gRPC to requests of V2 over HTTP, and from answers to messages. Pure: it asks nobody."""

import struct
from typing import Any
from urllib.parse import quote

import orjson

from tenantry.errors import InvalidRequest
from tenantry_server.grpc_v2.asking import HttpAnswer
from tenantry_server.grpc_v2.messages import message
from tenantry_server.rows import datatypes
from tenantry_server.rows.payload import short
from tenantry_server.wire.errors.refusals import is_odd
from tenantry_server.wire.heads import JSON_LENGTH

_TYPED = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_FORMS = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}
_AT_ONCE = 8192  # values: half a millisecond
_LENGTH = struct.Struct("<I")
_OWN = frozenset({"parameters", "binary_data_size", "binary_data_output", "binary_data"})


def path_of(name: str, version: str, rest: str) -> str:
    """Return the path of a model, as V2 over HTTP spells it.

    Example:
        >>> path_of("a@b", "", "/infer"), path_of("a", "9f86d081", "")
        ('/v2/models/a%40b/infer', '/v2/models/a/versions/9f86d081')

    Raises:
        InvalidRequest: the name, or the version, leads to another path.
    """
    if not name:
        raise InvalidRequest("the model name is empty; name the user whose model is asked")
    for what, value, has in (("name", name, "user id"), ("version", version, "version")):
        if value in (".", "..") or is_odd(quote(value, safe="")):
            raise InvalidRequest(f"the model {what} {short(value)} has characters that no {has} has")
    named = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(name, safe='')}{named}{rest}"


def body_of(asked: Any) -> tuple[bytes, int]:
    """Return the body of an inference request: JSON, and the bytes of its tensors.

    Returns:
        the body, and the length of its JSON.

    Raises:
        InvalidRequest: names the input that is wrong.
    """
    raw = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise InvalidRequest(
            f"raw_input_contents has {len(raw)} parts, and there are {len(asked.inputs)} inputs: "
            "give one for each"
        )
    inputs, sections = [], []
    for at, tensor in enumerate(asked.inputs):
        if raw and tensor.HasField("contents"):
            raise InvalidRequest(
                f"input {short(tensor.name)}: give either 'contents' or 'raw_input_contents'"
            )
        data = raw[at] if raw else _packed(tensor)
        sections.append(data)
        inputs.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {**_parameters(tensor.parameters), "binary_data_size": len(data)},
            }
        )
    document: dict[str, Any] = {
        "inputs": inputs,
        "parameters": {**_parameters(asked.parameters), "binary_data_output": True},
    }
    if asked.id:
        document["id"] = asked.id
    if asked.outputs:
        document["outputs"] = [
            {"name": each.name, "parameters": {**_parameters(each.parameters), "binary_data": True}}
            for each in asked.outputs
        ]
    text = orjson.dumps(document)
    return b"".join([text, *sections]), len(text)


def infer_response(answer: HttpAnswer, *, raw: bool) -> Any:
    """Return the message for an answered inference request.

    Args:
        raw: whether the tensors are bytes, as they were in the request.
    """
    length = answer.headers.get(JSON_LENGTH.lower())
    at = len(answer.body) if length is None else int(length)
    document = orjson.loads(memoryview(answer.body)[:at])
    given = message("ModelInferResponse")(
        model_name=document["model_name"],
        model_version=document["model_version"],
        id=document.get("id", ""),
    )
    for output in document["outputs"]:
        end = at + output["parameters"]["binary_data_size"]
        data, at = answer.body[at:end], end
        tensor = given.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        if raw or tensor.datatype not in _TYPED:
            given.raw_output_contents.append(data)
        else:
            _fill(tensor, data)
    return given


def metadata_response(answer: HttpAnswer) -> Any:
    """Return the message for a model's metadata."""
    document = orjson.loads(answer.body)
    given = message("ModelMetadataResponse")(
        name=document["name"], versions=document["versions"], platform=document["platform"]
    )
    for tensors, described in ((given.inputs, document["inputs"]), (given.outputs, document["outputs"])):
        for tensor in described:
            tensors.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
    return given


def index_response(answer: HttpAnswer) -> Any:
    """Return the message for the index of models."""
    models = [
        {name: model.get(name, "") for name in ("name", "version", "state", "reason")}
        for model in orjson.loads(answer.body)
    ]
    return message("RepositoryIndexResponse")(models=models)


def words_of(answer: HttpAnswer) -> str:
    """Return what an error says."""
    try:
        return str(orjson.loads(answer.body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"this server answered {answer.status}"


def _packed(tensor: Any) -> bytes:
    """Return the bytes of a tensor whose values are in `contents`."""
    field = _TYPED.get(tensor.datatype)
    if field is None:
        known = ", ".join(_TYPED)
        raise InvalidRequest(
            f"input {short(tensor.name)}: {short(tensor.datatype)} has no typed contents (those are "
            f"{known}); send raw_input_contents"
        )
    contents = tensor.contents
    values = getattr(contents, field)
    others = [each.name for each, _ in contents.ListFields() if each.name != field]
    if others:
        raise InvalidRequest(
            f"input {short(tensor.name)}: {tensor.datatype} stands in {field}, and {others[0]} is filled"
        )
    if tensor.datatype == datatypes.TEXT:
        return b"".join([part for item in values for part in (_LENGTH.pack(len(item)), item)])
    form = _FORMS[tensor.datatype]
    pieces = (values[at : at + _AT_ONCE] for at in range(0, len(values), _AT_ONCE))
    try:
        return b"".join([struct.pack(f"<{len(piece)}{form}", *piece) for piece in pieces])
    except struct.error:  # a message carries the smaller integers in 32 bits
        beyond = next(value for value in values if not _fits(value, form))
        raise InvalidRequest(f"input {short(tensor.name)}: {beyond} is not an {tensor.datatype}") from None


def _fits(value: int, form: str) -> bool:
    try:
        struct.pack(form, value)
    except struct.error:
        return False
    return True


def _fill(tensor: Any, data: bytes) -> None:
    """Write the values of a tensor into its `contents`."""
    values = getattr(tensor.contents, _TYPED[tensor.datatype])
    if tensor.datatype != datatypes.TEXT:
        form = _FORMS[tensor.datatype]
        at_once = _AT_ONCE * struct.calcsize(form)
        for at in range(0, len(data), at_once):
            piece = data[at : at + at_once]
            values.extend(struct.unpack(f"<{len(piece) // struct.calcsize(form)}{form}", piece))
        return
    at = 0
    while at < len(data):
        begin = at + datatypes.LENGTH_BYTES
        at = begin + _LENGTH.unpack_from(data, at)[0]
        values.append(data[begin:at])


def _parameters(given: Any) -> dict[str, Any]:
    """Return the parameters of a request, without those that say how tensors are sent over HTTP."""
    found: dict[str, Any] = {}
    if not given:  # most have none, and a map takes a while to be walked
        return found
    for name, value in given.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None and name not in _OWN:
            found[name] = getattr(value, kind)
    return found

"""How a large JSON body is written as a small document and arrays, and read again as a payload.

The first half runs in a process beside the server, with the parsers that the server has for small bodies:
so what is wrong with a body is said in the same words, however large it is.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from tenantry_server.rows import datatypes, infer_request, json_payload
from tenantry_server.rows.infer_request import InferRequest
from tenantry_server.rows.json_payload import JsonPayload
from tenantry_server.rows.large.grid import (
    FALSE,
    FLOAT,
    INTEGER,
    MISSING,
    TRUE,
    Cells,
    Grid,
    Odd,
)
from tenantry_server.rows.large.pieces import Written, dumps
from tenantry_server.rows.tensors import Tensor, Tensors

_PIECE_BYTES = 64 << 10  # of JSON that is read at once: half a millisecond
_NAMES_AT_ONCE = 4096
_EXACT = 2.0**53  # float64 holds every whole number up to here
_KINDS = {float: FLOAT, int: INTEGER, type(None): MISSING, bool: TRUE}
_NUMBERS = frozenset(_KINDS)
_PLAIN = "plain"


def write_rows(body: bytes) -> Written:
    """Write the rows of a body that `json_payload.parse` reads.

    Raises:
        InvalidRequest: as `json_payload.parse`.
    """
    payload = json_payload.parse(body)
    if not payload.rows:
        return {"form": _PLAIN}, []
    width = len(payload.rows[0])
    names = list(payload.rows[0]) if payload.records else payload.columns
    odd = _odd(payload, width)
    document = {
        "form": "grid",
        "records": payload.records,
        "names": names,
        "bare": payload.bare,
        "rows": len(payload),
        "width": width,
        "odd": odd,
    }
    parts = []
    if names is not None and len(names) > _NAMES_AT_ONCE:
        parts = [dumps(names[at : at + _NAMES_AT_ONCE]) for at in range(0, len(names), _NAMES_AT_ONCE)]
        document |= {"names": None, "name_parts": len(parts)}
    if odd is not None:
        return document, parts
    try:
        about, made = _cells(payload, names, width, len(body))
    except RecursionError:  # nested more deeply than JSON is written
        return {"form": _PLAIN}, []
    return document | about, [*parts, *made]


def read_rows(
    body: bytes, document: Mapping[str, Any], arrays: Sequence[npt.NDArray[Any]]
) -> Grid | JsonPayload:
    """Read what `write_rows` wrote of this body."""
    if document["form"] == _PLAIN:
        return json_payload.parse(body)
    parts = int(document.get("name_parts", 0))
    names = [name for part in arrays[:parts] for name in orjson.loads(part.data)] or document["names"]
    arrays = arrays[parts:]
    numbers = document.get("numbers", False)
    kinds = arrays[1] if numbers and len(arrays) > 1 else None
    cells = Cells(
        int(document["rows"]),
        int(document["width"]),
        numbers=arrays[0] if numbers else None,
        kinds=kinds,
        pieces=() if numbers else [each.data for each in arrays],
        piece_rows=int(document.get("piece_rows", 1)),
    )
    odd = document["odd"]
    return Grid(
        body,
        cells,
        records=bool(document["records"]),
        names=names,
        bare=bool(document["bare"]),
        odd=None if odd is None else Odd(**odd),
    )


def write_infer(body: bytes, json_length: str | None) -> Written:
    """Write a V2 request; its numbers stay what they are.

    Raises:
        InvalidRequest: as `infer_request.parse`.
    """
    asked = infer_request.parse(body, json_length)
    inputs, made = [], []
    for tensor in asked.tensors.inputs:
        form, parts = _tensor(tensor)
        described = {"name": tensor.name, "rows": tensor.rows, "columns": tensor.columns}
        inputs.append(described | {"form": form, "parts": len(parts)})
        made += parts
    document = {
        "inputs": inputs,
        "id": asked.request_id,
        "outputs": asked.outputs,
        "binary": asked.binary,
    }
    return document, made


def read_infer(document: Mapping[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> InferRequest:
    """Read what `write_infer` wrote."""
    following = iter(arrays)
    inputs = []
    for each in document["inputs"]:
        parts = [next(following) for _ in range(int(each["parts"]))]
        values: Any = parts[0] if parts else []
        if each["form"] == "bytes":
            values = parts[0].data
        elif each["form"] == "json":
            values = [value for part in parts for value in orjson.loads(part.data)]
        inputs.append(Tensor(each["name"], int(each["rows"]), int(each["columns"]), values))
    outputs = document["outputs"]
    wanted = None if outputs is None else [(str(name), bool(binary)) for name, binary in outputs]
    return InferRequest(Tensors(inputs), document["id"], wanted, bool(document["binary"]))


def _tensor(tensor: Tensor) -> tuple[str, list[npt.NDArray[Any]]]:
    values = tensor.values
    if isinstance(values, np.ndarray):
        return "numbers", [values]
    if isinstance(values, memoryview):
        return "bytes", [np.frombuffer(values, np.uint8)]
    if None not in values:  # packed, they are read where they are needed
        return "bytes", [np.frombuffer(datatypes.pack_texts(values), np.uint8)]
    at_once = 8192
    pieces = [values[at : at + at_once] for at in range(0, len(values), at_once)]
    return "json", [np.frombuffer(orjson.dumps(piece), np.uint8) for piece in pieces]


def _odd(payload: JsonPayload, width: int) -> dict[str, Any] | None:
    """Describe the first row that is not like row 0; None: there is none."""
    rows = payload.rows
    if payload.records:
        keys = rows[0].keys()
        for row, record in enumerate(rows):
            if record.keys() != keys:
                return {"row": row, "keys": list(record)}
        return None
    for row, values in enumerate(rows):
        if len(values) != width:
            return {"row": row, "length": len(values)}
    return None


def _cells(payload: JsonPayload, names: Sequence[str] | None, width: int, body_bytes: int) -> Written:
    rows: list[Any] = payload.rows
    if payload.records and names:
        pick = itemgetter(*names) if width > 1 else lambda record: (record[names[0]],)
        rows = list(map(pick, rows))
    flat = list(chain.from_iterable(rows))
    types = list(map(type, flat))
    kinds = set(types)
    if kinds <= _NUMBERS:
        if type(None) in kinds:
            flat = [math.nan if value is None else value for value in flat]
        numbers = np.array(array("d", flat)).reshape(len(rows), width)
        if kinds <= {float}:
            return {"numbers": True}, [numbers]
        codes = np.frombuffer(bytes(map(_KINDS.__getitem__, types)), np.uint8).reshape(numbers.shape).copy()
        codes[(codes == TRUE) & (numbers == 0)] = FALSE
        if not (np.abs(numbers[codes == INTEGER]) >= _EXACT).any():
            return {"numbers": True}, [numbers, codes]
    at_once = max(1, _PIECE_BYTES * len(rows) // body_bytes)
    pieces = [rows[at : at + at_once] for at in range(0, len(rows), at_once)]
    return {"piece_rows": at_once}, [dumps(piece) for piece in pieces]

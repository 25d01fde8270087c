"""Legal requests at the size limit, one of each kind that a server reads or writes."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import orjson
import pandas as pd
from sklearn.linear_model import LinearRegression, Ridge
from tests.support.processes.servers import Servers

from tenantry_server.grpc_v2.messages import message
from tenantry_server.rows.arrow import writing as arrow_writing
from tenantry_server.toys import DriftForecaster, SumModel

BODY_BYTES = (8 << 20) - 256
_ROWS = 100_000  # as many as a batch may have
_WIDE = 100  # answers of each row of one model
_STEPS = 10_000
_HORIZON = b'{"user_id":"series","horizon":1}'


@dataclass(frozen=True, slots=True)
class Large:
    """A request.

    Attributes:
        name: of its kind.
        path: of the route; of gRPC the name of the call.
        body: sent as it is; of gRPC a message.
        headers: sent with it.
        is_grpc: whether it goes to the port for gRPC.
    """

    name: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    is_grpc: bool = False


def add_models(servers: Servers, holder_id: str) -> None:
    """Assign a model to each user of the requests."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 2)), columns=["a", "b"])
    outputs = rng.normal(size=(len(frame), _WIDE))
    eight = pd.DataFrame(rng.normal(size=(60, 8)), columns=list("abcdefgh"))
    models = {
        "small": Ridge().fit(frame, frame["a"]),
        "large": Ridge().fit(frame, frame["a"]),
        "eight": Ridge().fit(eight, eight["a"]),
        "outputs": LinearRegression().fit(frame, outputs),
        "worker": SumModel(),
        "series": DriftForecaster(None, 9),
    }
    for user_id, model in models.items():
        servers.add(user_id, model, holder_id)


def requests(wanted: Sequence[str] = ()) -> Iterator[Large]:
    """Iterate over a request of each kind, or of those that have one of these words in their names."""
    for name, make in _MAKE.items():
        if not wanted or any(word in name for word in wanted):
            yield make(name)


def _json(
    name: str,
    path: str,
    form: bytes,
    rows_of: Iterator[bytes],
    rows: int = 1 << 30,
    media: str = "json",
) -> Large:
    between = b"\n" if media == "x-ndjson" else b","
    made: list[bytes] = []
    size = len(form)
    for row in rows_of:
        size += len(row) + 1
        if size > BODY_BYTES or len(made) == rows:
            break
        made.append(row)
    return Large(
        name, path, form.replace(b"%b", between.join(made)), {"Content-Type": f"application/{media}"}
    )


def _batch(
    name: str,
    rows_of: Iterator[bytes],
    form: bytes = b'{"rows":[%b]}',
    media: str = "json",
    path: str = "/predict",
) -> Large:
    return _json(name, path, form, rows_of, rows=_ROWS, media=media)


def _values() -> Iterator[float]:
    values = np.random.default_rng(1).normal(size=4096).round(6).tolist()
    while True:
        yield from values


def _records(names: str) -> Iterator[bytes]:
    values = _values()
    while True:
        yield json.dumps({name: next(values) for name in names}).encode()


def _lists() -> Iterator[bytes]:
    values = _values()
    while True:
        yield b"[%r,%r]" % (next(values), next(values))


def _texts() -> Iterator[bytes]:
    values = _values()
    while True:
        yield b'{"a":%r,"b":"%r"}' % (next(values), next(values))


def _keys() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield b'"k%d":%d.5' % (number, number)


def _of_users(model: str, users: int) -> Iterator[bytes]:
    values, number = _values(), 0
    names = "abcdefgh" if model == "eight" else "ab"
    while True:
        number += 1
        user_id = model if users == 1 else f"u{number}"
        yield orjson.dumps({"user_id": user_id} | {name: round(next(values), 2) for name in names})


def _v2_json() -> bytes:
    values = _values()
    data = [next(values) for _ in range(BODY_BYTES // 24 * 2)]
    tensor = {"name": "x", "datatype": "FP64", "shape": [len(data) // 2, 2], "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def _v2_texts() -> bytes:
    data = ["x"] * (BODY_BYTES // 4 - 100)
    tensor = {"name": "x", "datatype": "BYTES", "shape": [len(data) // 2, 2], "data": data}
    return orjson.dumps({"inputs": [tensor]})


def _v2_binary(name: str, user_id: str, datatype: str, item_bytes: int, rows: int = 0) -> Large:
    rows = rows or BODY_BYTES // (2 * item_bytes) - 100
    data = np.random.default_rng(2).normal(size=2 * rows).astype(f"<f{item_bytes}").tobytes()
    parameters = {"binary_data_size": len(data)}
    tensor = {"name": "x", "datatype": datatype, "shape": [rows, 2], "parameters": parameters}
    text = orjson.dumps({"inputs": [tensor]})
    return Large(
        name,
        f"/v2/models/{user_id}/infer",
        text + data,
        {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"},
    )


def _grpc(name: str, *, raw: bool) -> Large:
    rows = BODY_BYTES // 16 - 100
    values = np.random.default_rng(2).normal(size=2 * rows)
    asked = message("ModelInferRequest")(model_name="large")
    tensor = asked.inputs.add(name="x", datatype="FP64", shape=[rows, 2])
    if raw:
        asked.raw_input_contents.append(values.tobytes())
    else:
        tensor.contents.fp64_contents.extend(values.tolist())
    return Large(name, "ModelInfer", asked.SerializeToString(), is_grpc=True)


def _arrow(name: str) -> Large:
    rng = np.random.default_rng(3)
    columns: dict[str, Any] = {name: rng.normal(size=_ROWS) for name in "abcdefgh"}
    body = arrow_writing.write({"user_id": ["eight"] * _ROWS} | columns, _ROWS)
    assert body is not None
    return Large(name, "/predict", body, {"Content-Type": "application/vnd.apache.arrow.stream"})


def _history() -> bytes:
    count = BODY_BYTES // 21
    times = list(range(10, 10 + count))
    return orjson.dumps({"horizon": 14, "history": {"time": times, "value": [1234.5] * count}})


def _quantiles() -> bytes:
    quantiles = [round(0.001 + number / 51, 4) for number in range(50)]
    return orjson.dumps({"horizon": _STEPS, "quantiles": quantiles})


def _series() -> bytes:
    given = {"type": "univariate_time_series", "name": "x", "frequency": "D"}
    series = [1234.5] * (BODY_BYTES // 7 - 100)
    asked = {"model": "series", "options": {"horizon": 14}, "inputs": [given | {"series": series}]}
    return orjson.dumps(asked)


_MAKE: dict[str, Callable[[str], Large]] = {
    "records": lambda name: _json(name, "/predict/large", b"[%b]", _records("ab")),
    "lists": lambda name: _json(name, "/v1/models/large:predict", b'{"instances":[%b]}', _lists()),
    "columns": lambda name: _json(name, "/predict/large", b'{"columns":["a","b"],"data":[%b]}', _lists()),
    "texts": lambda name: _json(name, "/predict/large", b"[%b]", _texts()),
    "one wide row": lambda name: _json(name, "/predict/large", b"[{%b}]", _keys()),
    "nested": lambda name: _json(name, "/predict/large", b"[%b]", repeat(b'{"a":1,"b":[[],[],[],[]]}')),
    "a model in a worker": lambda name: _json(name, "/predict/worker", b"[%b]", _records("ab")),
    "V2": lambda name: Large(name, "/v2/models/large/infer", _v2_json()),
    "V2 texts": lambda name: Large(name, "/v2/models/large/infer", _v2_texts()),
    "V2 binary": lambda name: _v2_binary(name, "large", "FP64", 8),
    "V2 binary, small numbers": lambda name: _v2_binary(name, "large", "FP16", 2),
    "V2, many outputs": lambda name: _v2_binary(name, "outputs", "FP64", 8, rows=20_000),
    "many outputs": lambda name: _json(name, "/predict/outputs", b"[%b]", _records("ab"), rows=20_000),
    "gRPC raw": lambda name: _grpc(name, raw=True),
    "gRPC typed": lambda name: _grpc(name, raw=False),
    "batch of one user": lambda name: _batch(name, _of_users("eight", 1)),
    "batch of many users": lambda name: _batch(name, _of_users("eight", _ROWS)),
    "batch, NDJSON": lambda name: _batch(name, _of_users("eight", 1), b"%b", "x-ndjson"),
    "batch of a worker": lambda name: _batch(name, _of_users("worker", 1)),
    "batch of one wide row": lambda name: _batch(name, _keys(), b'{"rows":[{"user_id":"large",%b}]}'),
    "batch, nested": lambda name: _batch(name, repeat(b'{"user_id":"eight","a":[[],[],[],[]]}')),
    "batch, Arrow": _arrow,
    "batch of forecasts": lambda name: _batch(name, repeat(_HORIZON), path="/forecast"),
    "forecast": lambda name: Large(name, "/forecast/series", _history()),
    "forecast, its answer": lambda name: Large(name, "/forecast/series", _quantiles()),
    "time series": lambda name: Large(name, "/v1/timeseries/forecast", _series()),
}

"""Whatever bytes come, of whichever protocol: an answer, and no failure that this server did not expect.

Requests of every protocol are mutated by a seed, some in their bodies, some anywhere, and fed to a server
in this process, without sockets. TENANTRY_FUZZ_REQUESTS asks for more of them than the gate has time for;
`python -m benchmarks.trust --only fuzz` sends a million.
"""

import asyncio
import os
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pandas as pd

from tenantry import Model
from tenantry_server.kernels.affine import Affine
from tenantry_server.kernels.base import Head
from tenantry_server.toys import DriftForecaster
from tests.integration.server.protocols import test_fast_path
from tests.integration.server.protocols.test_fast_path_differential import (
    BITS,
    KINDS,
    MORE,
    Mutator,
    Side,
    Transport,
    side,
)

REQUESTS = int(os.environ.get("TENANTRY_FUZZ_REQUESTS", "5000"))
_PATIENCE_S = 180.0
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_REASON = re.compile(rb"Tenantry-Reason: (\w+)")


class Models(test_fast_path.Models):
    """A forecaster, a kernel, and models that were fitted with no names."""

    def get_model(self, model_id: str) -> Model:
        if model_id == "fay":
            return DriftForecaster("D", pd.Timestamp("2026-11-29"), exog_names=("price",))
        if model_id == "kim":
            return Affine(Head(("x", "y"), 2, False), np.array([3.0, 1.0]), 1.0)
        return super().get_model(model_id)


_SERIES = {"type": "univariate_time_series", "name": "d", "frequency": "D", "series": [1.0, 2.0]}
_ROWS = [{"user_id": "ann", "a": 1, "b": 2}, {"user_id": "kim", "x": 1, "y": None}, {"user_id": "nobody"}]
_FORECAST = {"horizon": 2, "quantiles": [0.1], "exog": [{"price": 1.5}, {"price": 2}]}
_TEXTS = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}
ALL: tuple[tuple[str, bytes, tuple[bytes, ...]], ...] = (
    *((f"POST {path}", body, lines) for path, body, lines in KINDS),
    ("POST /predict/kim", b'[{"x": 1, "y": 2.5}]', ()),
    ("POST /predict/kim", b'{"columns": ["y", "x"], "data": [[1, null]]}', ()),
    ("POST /v2/models/kim/infer", orjson.dumps({"inputs": [_TEXTS], "outputs": [{"name": "z"}]}), ()),
    ("POST /v2/models/kim/versions/1/infer", orjson.dumps({"inputs": [_TEXTS]}), ()),
    ("POST /forecast/fay", orjson.dumps(_FORECAST), ()),
    ("POST /forecast/fay", b'{"horizon": 1, "history": {"time": ["2026-12-05"], "value": [1]}}', ()),
    ("GET /forecast/fay?horizon=2&quantiles=0.1&from=2026-12-01", b"", ()),
    (
        "POST /v1/timeseries/forecast",
        orjson.dumps({"model": "fay", "inputs": [_SERIES], "options": {"horizon": 2}}),
        (),
    ),
    ("POST /predict", orjson.dumps({"rows": _ROWS}), (b"Accept: application/x-ndjson",)),
    (
        "POST /predict?user_column=user_id",
        b"\n".join(orjson.dumps(row) for row in _ROWS),
        (b"Content-Type: application/x-ndjson",),
    ),
    ("POST /predict", orjson.dumps({"numbers": [3], "rows": _ROWS[:1]}), (b"Tenantry-Hop: b",)),
    ("POST /predict", b"ARROW1", (b"Content-Type: application/vnd.apache.arrow.stream",)),
    ("POST /forecast", orjson.dumps({"rows": [{"user_id": "fay", "horizon": 1}]}), ()),
    ("GET /cards/ann", b"", ()),
    ("GET /v1/models/ann", b"", ()),
    ("GET /v1/models", b"", ()),
    ("GET /v2/models/kim", b"", ()),
    ("GET /v2/models/kim/ready", b"", ()),
    ("GET /v2", b"", ()),
    ("POST /v2/repository/index", b"{}", ()),
    ("POST /v2/repository/models/ann/load", b"{}", ()),
    ("GET /v1/timeseries/models", b"", ()),
    ("GET /shards", b"", ()),
    ("GET /readyz", b"", ()),
)
_BITS = (
    *BITS,
    b"null",
    b"NaN",
    b"1e400",
    b"-1",
    b"{}",
    b"[]",
    b"[[",
    b'""',
    b"\\ud800",
    b"99999999999999999999",
)


class Fuzzer(Mutator):
    """Makes requests of every protocol, broken in one place or several."""

    def request(self) -> bytes:
        chance = self.chance
        start, body, headers = chance.choice(ALL)
        if chance.random() < 0.1:
            body = chance.choice(ALL)[1]
        for _ in range(chance.choice((0, 0, 1, 2, 4))):
            body = self._in_body(body)
        if chance.random() < 0.1:
            start = self.mutated(start.encode()).decode("latin-1")
        lines = [f"{start} HTTP/1.1".encode("latin-1"), b"Host: here"]
        lines += [chance.choice(MORE) for _ in range(chance.choice((0, 0, 0, 1)))]
        whole = b"\r\n".join([*lines, *headers, b"Content-Length: %d" % len(body), b"", b""]) + body
        return self.mutated(whole) if chance.random() < 0.2 else whole

    def _in_body(self, body: bytes) -> bytes:
        chance = self.chance
        if chance.random() < 0.5:
            return self.mutated(body)
        at = chance.randrange(len(body) + 1)
        to = min(len(body), at + chance.choice((0, 1, 4)))
        return body[:at] + chance.choice(_BITS) + body[to:]


@dataclass
class Fuzzed:
    """What became of the requests.

    Attributes:
        sent: of them.
        seen: how many answers of each status and, from 500 on, reason there were.
        untold: requests that met a failure that this server did not expect, or no answer at all.
    """

    sent: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    untold: list[list[bytes]] = field(default_factory=list)


async def run(requests: int, seed: int) -> Fuzzed:
    """Send so many requests to one server."""
    found, fuzzer, failed = Fuzzed(), Fuzzer(seed), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with side(fast=True, gate=None, users=test_fast_path.Users(), models=Models()) as one:
        while found.sent < requests:
            pieces = fuzzer.stream()
            found.sent += b"".join(pieces).count(b" HTTP/1.1\r\n") or 1
            answered = await _said(one, pieces)
            _count(found, pieces, answered)
            if failed:
                found.untold.append(pieces)
                failed.clear()
    return found


def _count(found: Fuzzed, pieces: list[bytes], answered: bytes | None) -> None:
    if answered is None:
        found.untold.append(pieces)
        return
    for status, head in _ANSWER.findall(answered):
        reason = _REASON.search(head)
        named = b"none" if reason is None else reason[1]
        found.seen[f"{status.decode()} {named.decode()}" if status >= b"500" else status.decode()] += 1
        if status >= b"500" and named in (b"none", b"InternalError"):
            found.untold.append(pieces)


async def _said(one: Side, pieces: list[bytes]) -> bytes | None:
    """What a new connection answers to these pieces; None: it never came to rest."""
    transport = Transport(one.server())
    await asyncio.sleep(0)
    for piece in pieces:
        if not transport.closed:
            transport.protocol.data_received(piece)
    for connection in list(getattr(one.server, "holding", ())):
        connection.let_go()  # as time would have it
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not (transport.closed or _waits_for_client(transport.protocol)):
                if _lacks_bytes(transport.protocol):
                    await one.rest(transport)
                    break
                await asyncio.sleep(0)
    except TimeoutError:
        return None
    finally:
        transport.close()
        await asyncio.sleep(0)
    return bytes(transport.written)


def _waits_for_client(protocol: Any) -> bool:
    """Whether every request that has arrived has its answer."""
    waiter = protocol._waiter
    return not protocol._messages and waiter is not None and not waiter.done()


def _lacks_bytes(protocol: Any) -> bool:
    """Whether a body has not arrived whole, of which aiohttp may wait for the rest for seconds."""
    return protocol._left > 0 or not protocol._following


async def test_every_request_is_answered_as_this_server_means_to() -> None:
    found = await run(REQUESTS, seed=random.Random(20261129).randrange(1 << 30))  # noqa: S311 - to be repeated
    assert found.untold == [], found.untold[:3]
    assert found.seen["200"] > REQUESTS / 10, found.seen
    assert found.seen["422"] > REQUESTS / 10, found.seen

"""The fast path beside aiohttp's own way: the same bytes in, however broken, the same bytes out.

Two servers are fed in one process, without sockets: what one protocol object writes is held against what
the other one does. Requests are mutated by a seed, pipelined and split at random places. The models are
quick, or answer later: another server has them, or they are called beside the event loop.
TENANTRY_DIFFERENTIAL_REQUESTS asks for more of them than the gate has time for.
"""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pytest
from aiohttp import web

from tenantry import Model
from tenantry.manifest.limits import Limits
from tenantry_server import CachedModelRepository, bounded_cache, make_app
from tenantry_server.access.gate import Gate
from tenantry_server.app import FAST_PATH
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.protocols.fast_path import FastPath
from tenantry_server.quotas.quotas import Quotas
from tenantry_server.toys import SumModel
from tenantry_server.wire import later
from tenantry_server.wire.errors import refusals
from tenantry_server.wire.later import Continued, Later, Watched
from tenantry_server.wire.plain_connection import PlainServer
from tests.integration.server.protocols import test_fast_path
from tests.integration.server.protocols.test_fast_path import BODY_BYTES, Models, Quick
from tests.support.processes import cluster
from tests.support.tenants.callers import gate_of

REQUESTS = int(os.environ.get("TENANTRY_DIFFERENTIAL_REQUESTS", "12000"))
SHARE, HOPS_SHARE = 1 / 8, 1 / 20  # of those requests that a test sends; hops take their time
ROUNDS_AT_REST = 12  # of the event loop, in which nothing was written
_UNLIKE = re.compile(rb"Date: [^\r]*\r\n|Server: Python[^\r]*\r\n")


class Users(test_fast_path.Users):
    """Ann and Bob, whose models are warm and quick; nobody else."""

    def get_model_id_by_user_id(self, user_id: str) -> str:
        return super().get_model_id_by_user_id(user_id if user_id in ("ann", "bob") else "nobody")


class Beside(SumModel):
    """A model that is called beside the event loop, as one in a worker is."""

    elsewhere = True


class ModelsBeside(Models):
    def get_model(self, model_id: str) -> Model:
        return Beside(len(model_id))


class Transport(asyncio.Transport):
    """Keeps what is written, as a client that reads everything at once would."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = bytearray()
        self.closed = False
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


@dataclass
class Side:
    """One of the two servers."""

    server: web.Server

    async def said(self, pieces: list[bytes], *, at_once: bool) -> tuple[bytes, bool]:
        """What a new connection answers to these pieces, and whether it is closed then.

        Args:
            at_once: send each piece before the one before it is answered.
        """
        transport = Transport(self.server())
        await asyncio.sleep(0)
        for piece in pieces:
            if transport.closed:
                break
            transport.protocol.data_received(piece)
            if not at_once:
                await self.rest(transport)
        await self.rest(transport)
        if isinstance(self.server, PlainServer):
            for connection in list(self.server.holding):
                connection.let_go()  # as time would have it
            await self.rest(transport)
        said = bytes(transport.written), transport.closed
        transport.close()
        await asyncio.sleep(0)
        return said

    async def rest(self, transport: Transport) -> None:
        """Wait until nothing more comes, however long a thread works on a request that has arrived."""
        quiet = 0
        async with asyncio.timeout(180):
            while quiet < ROUNDS_AT_REST:
                before = len(transport.written), transport.closed
                works = _works(transport.protocol)
                await asyncio.sleep(0.001 if works else 0)
                now = len(transport.written), transport.closed
                quiet = quiet + 1 if before == now and not works else 0


def _works(protocol: Any) -> bool:
    """Whether a whole request is being answered."""
    if isinstance(protocol, later.Connection) and protocol._later is not None:
        return True
    request = protocol._current_request
    return request is not None and request.content.is_eof()


@dataclass
class Mutator:
    """Makes streams of requests from a seed.

    Attributes:
        shown: lines by which requests show who asks; each has one of them.
    """

    seed: int
    shown: tuple[bytes, ...] = ()
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - to be repeated

    def stream(self) -> list[bytes]:
        chance = self.chance
        requests = [self.request() for _ in range(chance.choice((1, 1, 1, 1, 1, 2, 4)))]
        return requests if chance.random() < 0.3 else self.split(b"".join(requests))

    def request(self) -> bytes:
        chance = self.chance
        path, body, headers = chance.choice(KINDS)
        lines = [f"POST {path} HTTP/1.1".encode(), b"Host: here"]
        lines += [chance.choice(MORE) for _ in range(chance.choice((0, 0, 0, 0, 1, 3)))]
        lines += [chance.choice(self.shown)] if self.shown else []
        lines += [*headers, b"Content-Length: %d" % len(body)]
        whole = b"\r\n".join([*lines, b"", b""]) + body
        for _ in range(chance.choice((0, 0, 0, 0, 1, 2))):
            whole = self.mutated(whole)
        return whole

    def mutated(self, data: bytes) -> bytes:
        chance = self.chance
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 1, 2, 10)))
        how = chance.randrange(6)
        if how == 0:
            return data[:at] + chance.choice(BITS) + data[at:]
        if how == 1:
            return data[:at] + data[to:]
        if how == 2:
            return data[:at] + bytes([chance.randrange(256)]) + data[to:]
        if how == 3:
            return data[:at] + data[at:to].swapcase() + data[to:]
        lines = data.split(b"\r\n")
        line = chance.randrange(len(lines))
        if how == 4:
            lines.insert(line, chance.choice([*lines, *MORE]))
        else:
            lines[line] = chance.choice([*MORE, lines[line] + b"0", b""])
        return b"\r\n".join(lines)

    def split(self, data: bytes) -> list[bytes]:
        chance = self.chance
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 0, 1, 2, 6))))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]


def _v2(**more: Any) -> bytes:
    tensor = {"name": "rows", "shape": [1, 2], "datatype": "FP64", **more}
    return orjson.dumps({"id": "7", "inputs": [tensor]})


_DESCRIBED = _v2(parameters={"binary_data_size": 16})
KINDS: tuple[tuple[str, bytes, tuple[bytes, ...]], ...] = (
    ("/predict/ann", b'[{"a": 1, "b": 2}]', (b"Content-Type: application/json",)),
    ("/predict/bob", b'{"instances": [[1, 2], [3, 4]]}', ()),
    ("/predict/ann", b'{"columns": ["a", "b"], "data": [[1, 2]]}', ()),
    ("/predict/ann", b"[" + b" " * 3000 + b'{"a": 1}]', ()),
    ("/v1/models/ann:predict", b'{"instances": [[1, 2.5]]}', ()),
    ("/v2/models/ann/infer", _v2(data=[1, 2]), ()),
    (
        "/v2/models/ann/infer",
        _DESCRIBED + np.array([1.0, 2.0]).tobytes(),
        (b"Inference-Header-Content-Length: %d" % len(_DESCRIBED),),
    ),
    ("/predict/nobody", b'[{"a": 1}]', ()),
)
MORE = (
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"X-Request-Id: 4711",
    b"X-Request-Id: another one",
    b"Authorization: Bearer abc",
    b"Accept: */*",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Tenantry-Timeout-Ms: 5000",
    b"Transfer-Encoding: chunked",
    b"Content-Encoding: gzip",
    b"Expect: 100-continue",
    b"Expect: nothing",
    b"Content-Length: 3",
    b" folded",
    b"Upgrade: websocket",
    b"Foo: \xe4",
)
SHOWN = (
    *[b"Authorization: Bearer key"] * 5,
    b"authorization:bearer  key ",
    b"Authorization: Bearer anns",
    b"Authorization: Bearer other",
    b"Authorization: Basic key",
    b"Authorization: Bearer key\r\nAuthorization: Bearer key",
    b"Authorization: Bearer key\r\nTenantry-Proof: 1 2",
    b"Authorization: Bearer key\t",
    b"X-Authorization: Bearer key",
)
BITS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b"\r\n\r\n",
    b"%",
    b"\xff",
    b'"',
    b"0",
    b"]",
    b"}",
)


class Slow(web.Server):
    """Leaves every request to aiohttp, and puts its refusals into the same words."""

    def __call__(self) -> web.RequestHandler:
        return refusals.Connection(self, loop=self._loop, **self._kwargs)


def _leave_to_aiohttp(server: web.Server) -> None:
    server.__class__ = Slow


@asynccontextmanager
async def side(
    *,
    fast: bool,
    gate: Gate | None,
    users: ModelInfoRepository | None = None,
    models: Models | None = None,
    quotas: Quotas | None = None,
) -> AsyncIterator[Side]:
    users, cache = users or Users(), CachedModelRepository(models or Models(), bounded_cache(1 << 20))
    app = make_app(
        users,
        cache,
        data_plane=DataPlane(users, cache, quotas=quotas),
        server_id="server-7",
        max_body_bytes=BODY_BYTES,
        gate=gate,
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    assert runner.server is not None
    if fast:
        app[FAST_PATH].install(runner.server)
    else:
        runner.server.request_handler = refusals.knowing_expectations(runner.server.request_handler)
        _leave_to_aiohttp(runner.server)
    yielded = Side(runner.server)
    for user_id in ("ann", "bob"):  # warm, and measured to be quick
        for _ in range(2):
            await _warm(yielded, user_id)
    try:
        yield yielded
    finally:
        await runner.cleanup()


async def _warm(one: Side, user_id: str) -> None:
    transport = Transport(one.server())
    await asyncio.sleep(0)
    body = b'[{"a": 1, "b": 2}]'
    transport.protocol.data_received(
        b"POST /predict/%b HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer key\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (user_id.encode(), len(body), body)
    )
    async with asyncio.timeout(30):
        while not transport.written:  # noqa: ASYNC110 - a thread works on it
            await asyncio.sleep(0.001)
    transport.close()


def counting(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How many answers of each status the fast path has given since, at once or later."""
    taken: Counter[bytes] = Counter()
    answer = FastPath.answer

    def counted_later(given: bytes | Continued) -> None:
        if isinstance(given, bytes):
            taken[b"later " + given[9:12]] += 1

    def counted(self: FastPath, *given: Any) -> bytes | Later | None:
        found = answer(self, *given)
        if isinstance(found, bytes):
            taken[found[9:12]] += 1
        return Watched(found, counted_later) if isinstance(found, Later) else found

    monkeypatch.setattr(FastPath, "answer", counted)
    return taken


async def differ(
    plain: Side,
    fast: Side,
    mutator: Mutator,
    pass_time: Callable[[], None] = lambda: None,
    share: float = SHARE,
) -> int:
    """Send the same to both; return how many requests there were."""
    asked = 0
    while asked < REQUESTS * share:
        pieces = mutator.stream()
        asked += b"".join(pieces).count(b" HTTP/1.1\r\n") or 1
        at_once = mutator.chance.random() < 0.3
        expected = await plain.said(pieces, at_once=at_once)
        seen = await fast.said(pieces, at_once=at_once)
        assert _like(seen) == _like(expected), pieces
        pass_time()
    return asked


@pytest.mark.parametrize(("auth", "models"), [("off", Models), ("required", Models), ("off", ModelsBeside)])
async def test_aiohttp_would_have_answered_the_same(
    auth: str, models: type[Models], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "aiohttp.server")
    taken = counting(monkeypatch)
    mutator = Mutator(20261129, shown=SHOWN if auth == "required" else ())
    gate = gate_of({"key": ("*",), "anns": ("ann",)}) if auth == "required" else None
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(side(fast=False, gate=gate, models=models()))
        fast = await stack.enter_async_context(side(fast=True, gate=gate, models=models()))
        asked = await differ(plain, fast, mutator)
    assert taken[b"later 200" if models is ModelsBeside else b"200"] > asked / 20


@pytest.mark.parametrize("auth", ["off", "required"])
async def test_a_server_that_passes_requests_on_would_have_answered_the_same(
    auth: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the other server answers and refuses; it also sees that it comes from this one."""
    caplog.set_level("CRITICAL", "aiohttp.server")
    taken = counting(monkeypatch)
    mutator = Mutator(20261130, shown=SHOWN if auth == "required" else ())
    settings: dict[str, Any] = {"names": "ab", "max_body_bytes": BODY_BYTES}
    if auth == "required":
        keys = {"key": ("*",), "anns": ("ann",)}
        settings |= {"secret": "of the fleet" * 3, "gate": lambda hops: gate_of(keys, hops)}
    both = []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            running = cluster.running({"ann": Quick, "bob": Quick}, {"ann": "b", "bob": "b"}, **settings)
            both.append(await stack.enter_async_context(running))
            await _warm(Side(both[-1]["a"].server), "bob")
        _leave_to_aiohttp(both[0]["a"].server)
        plain, fast = (Side(each["a"].server) for each in both)
        asked = await differ(plain, fast, mutator, share=HOPS_SHARE)
        assert [each["a"].models.loads for each in both] == [[], []]
        assert both[0]["a"].counts == both[1]["a"].counts
    assert taken[b"later 200"] > asked / 20


@pytest.mark.parametrize("models", [Models, ModelsBeside])
async def test_it_would_have_refused_the_same(
    models: type[Models], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of users with limits: the same are answered, and the rest is told the same time to wait."""
    caplog.set_level("CRITICAL", "aiohttp.server")
    taken = counting(monkeypatch)
    mutator, now_s = Mutator(20261129), 100.0
    limits = {"ann": Limits(requests_per_second=2.5, burst=4, rows=1), "bob": Limits(rows=1)}
    both = [Quotas(limits, clock_s=lambda: now_s) for _ in range(2)]

    def pass_time() -> None:
        nonlocal now_s
        now_s += mutator.chance.choice((0.0, 0.01, 0.1, 0.4))

    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(
            side(fast=False, gate=None, quotas=both[0], models=models())
        )
        fast = await stack.enter_async_context(side(fast=True, gate=None, quotas=both[1], models=models()))
        now_s += 60.0
        asked = await differ(plain, fast, mutator, pass_time)
    assert taken[b"429"] > asked / 30
    assert taken[b"later 200" if models is ModelsBeside else b"200"] > asked / 30
    assert both[0].refused == both[1].refused
    assert both[0].refused["rows"] > 0


def _like(said: tuple[bytes, bool]) -> tuple[bytes, bool]:
    return _UNLIKE.sub(b"", said[0]), said[1]

"""The access log: one line for each request, whatever answered it, and nothing on it that should not be."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web

from tenantry.errors import InvalidSetting
from tenantry_server.grpc_v2.asking import Application
from tenantry_server.grpc_v2.messages import SERVICE, message
from tenantry_server.grpc_v2.port import Port
from tenantry_server.settings import ServerSettings
from tenantry_server.toys import SumModel
from tenantry_server.wire.log.access_log import AccessLog, Asked
from tests.support.processes import cluster, servers
from tests.support.processes.cluster import Cluster, Node
from tests.support.processes.up import ask
from tests.support.waiting import PATIENCE_S, until

ROW = b'{"instances": [[1.0, 2.0]]}'
TENSOR = b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1.0, 2.0]}]}'
SECRET = "hunter2"  # noqa: S105 - to look for
FIELDS = ["method", "path", "protocol", "user", "status", "ms"]
FIELDS += ["bytes_in", "bytes_out", "route", "request_id"]


class Quick(SumModel):
    """Says that it only computes, so that it is answered at once from its second call on."""

    may_block = False

    def predict_rows(self, rows: Any) -> Any:
        return rows.sum(axis=1) + self.plus


class Lines(AccessLog):
    """Keeps its lines, and how many of them are of the fast path."""

    def __init__(self, share: float = 1.0, draws: list[float] | None = None) -> None:
        self.all: list[dict[str, Any]] = []
        self.fast = 0
        super().__init__(share, self._keep, (lambda: draws.pop(0)) if draws else (lambda: 0.0))

    def _keep(self, line: Any) -> None:
        assert list(line) == FIELDS
        assert len(json.dumps(line)) < 1200
        self.all.append(dict(line))

    def answered(self, asked: Asked, answer: bytes, seconds: float) -> None:
        self.fast += 1
        super().answered(asked, answer, seconds)


def served(make: Callable[[], Lines]) -> AbstractAsyncContextManager[Cluster]:
    """Two servers: `a` holds ann and slow, `b` holds bob."""
    models = {"ann": Quick, "bob": partial(Quick, 1), "slow": SumModel}
    holders = {"ann": "a", "bob": "b", "slow": "a"}
    return cluster.running(
        models, holders, names="ab", max_body_bytes=4096, access_log=lambda _server_id: make()
    )


@pytest.fixture
async def two() -> AsyncIterator[Cluster]:
    async with served(Lines) as two:
        yield two


def log_of(node: Node) -> Lines:
    assert isinstance(node.access_log, Lines)
    return node.access_log


def request(path: str, body: bytes = ROW, *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Wire:
    """One connection to a server."""

    def __init__(self, node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._node = node
        self._reader = reader
        self._writer = writer

    async def send(self, sent: bytes) -> dict[str, Any]:
        """Send a request; return the one line of it, checked against its answer."""
        log = log_of(self._node)
        before = len(log.all)
        async with asyncio.timeout(PATIENCE_S):
            self._writer.write(sent)
            head = await self._reader.readuntil(b"\r\n\r\n")
            named = dict(each.split(b": ", 1) for each in head.lower().split(b"\r\n") if b": " in each)
            body = await self._reader.readexactly(int(named[b"content-length"]))
            while len(log.all) == before:  # noqa: ASYNC110 - aiohttp logs after it has sent
                await asyncio.sleep(0.001)
        (line,) = log.all[before:]
        assert (line["status"], line["bytes_out"]) == (int(head[9:12]), len(body))
        return line

    def close(self) -> None:
        self._writer.transport.abort()


@pytest.fixture
async def opened(two: Cluster) -> AsyncIterator[Callable[[str], Any]]:
    wires: list[Wire] = []

    async def another(name: str) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", two[name].port)
        wires.append(Wire(two[name], reader, writer))
        return wires[-1]

    yield another
    for wire in wires:
        wire.close()


@pytest.mark.parametrize(
    ("path", "body", "protocol"),
    [
        ("/predict/ann", ROW, "native"),
        ("/v1/models/ann:predict", ROW, "v1"),
        ("/v2/models/ann/infer", TENSOR, "v2"),
    ],
)
async def test_the_fast_path_and_the_application_write_the_same_line(
    path: str, body: bytes, protocol: str, two: Cluster, opened: Callable[[str], Any]
) -> None:
    wire, log = await opened("a"), log_of(two["a"])
    expected = {
        "method": "POST",
        "path": path,
        "protocol": protocol,
        "user": "ann",
        "status": 200,
        "bytes_in": len(body),
        "route": "local",
        "request_id": "r-1",
    }
    ways: set[bool] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(ways) < 2:  # cold at first; on a busy machine a model may be slow for a while
            before = log.fast
            line = await wire.send(request(path, body, "X-Request-Id: r-1", f"Authorization: {SECRET}"))
            assert {name: line[name] for name in expected} == expected
            assert 0 < line["ms"] < PATIENCE_S * 1e3
            ways.add(log.fast > before)
    assert SECRET not in json.dumps(log.all)


async def test_a_trace_is_named_where_there_is_no_request_id(opened: Callable[[str], Any]) -> None:
    wire = await opened("a")
    trace = f"traceparent: 00-{'ab' * 16}-{'cd' * 8}-01"
    for sent in (request("/predict/slow", ROW, trace), *[request("/predict/ann", ROW, trace)] * 5):
        assert (await wire.send(sent))["request_id"] == "ab" * 16
    assert (await wire.send(request("/predict/slow", ROW, "traceparent: nonsense")))["request_id"] is None


async def test_a_request_that_is_passed_on_has_a_line_at_both_servers(
    two: Cluster, opened: Callable[[str], Any]
) -> None:
    wire = await opened("a")
    paths = ("/predict/bob", "/predict/bob?the=long+way", "/v1/models/bob:predict")
    for number, path in enumerate(paths, 1):
        line = await wire.send(request(path, ROW, "X-Request-Id: both"))
        async with asyncio.timeout(PATIENCE_S):
            while len(log_of(two["b"]).all) < number:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
        (there,) = log_of(two["b"]).all[number - 1 :]
        assert (line["route"], there["route"]) == ("passed_on", "from_peer")
        for each in (line, there):
            assert (each["user"], each["request_id"], each["status"]) == ("bob", "both", 200)


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "no request": (b"\x16\x03\x01 hunter2\r\n\r\n", 400, "/"),
    "a broken header": (b"POST /predict/ann HTTP/1.1\r\nHost: x\r\nhunter2\x00: y\r\n\r\n", 400, "/"),
    "two lengths": (request("/predict/ann", ROW, "Content-Length: 1"), 400, "/"),
    "an odd path": (request("/predict/%61nn"), 400, "/predict/ann"),
    "an expectation": (request("/predict/ann", ROW, "Expect: hunter2"), 417, "/predict/ann"),
    "another method": (request("/predict/ann", method="PUT"), 405, "/predict/ann"),
    "an unknown path": (request("/nothing", method="GET"), 404, "/nothing"),
    "a long body": (request("/predict/slow", b" " * 5000), 413, "/predict/slow"),
    "a broken body": (request("/predict/ann", b"[hunter2"), 422, "/predict/ann"),
    "nobody": (request("/predict/nobody"), 404, "/predict/nobody"),
    "a list for admins": (
        request("/v2/repository/models/ann/x", method="GET"),
        404,
        "/v2/repository/models/ann/x",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_has_a_line_too(case: str, opened: Callable[[str], Any]) -> None:
    sent, status, path = REFUSED[case]
    wire = await opened("a")
    line = await wire.send(sent)
    assert (line["status"], line["path"], line["route"]) == (status, path, "local")
    assert SECRET not in json.dumps(line)


@pytest.mark.parametrize(
    ("target", "more", "field", "logged"),
    [
        (f"/predict/ann?key={SECRET}", "A: b", "path", "/predict/ann"),
        (f"http://me:{SECRET}@here/predict/ann", "A: b", "path", "/predict/ann"),
        ("/" + "x" * 5000, "A: b", "path", "/" + "x" * 299),
        ("/predict/ann", f"X-Request-Id: {'y' * 3000}", "request_id", "y" * 128),
        ("/predict/ann", "X-Request-Id: \xe9", "request_id", r"\xe9"),
        ("/predict/ann", 'X-Request-Id: "}\\', "request_id", '"}\\\\'),
        ("/forecast/ann", "A: b", "user", "ann"),
        ("/predict/" + "u" * 300, "A: b", "user", None),
        ("/healthz", "A: b", "protocol", "http"),
    ],
)
async def test_strangers_strings_are_cut_and_escaped(
    target: str, more: str, field: str, logged: str | None, opened: Callable[[str], Any]
) -> None:
    wire = await opened("a")
    for _ in range(6):  # also on the fast path, where it is one for that
        line = await wire.send(request(target, ROW, more))
        assert line[field] == logged
        assert SECRET not in json.dumps(line)


async def test_only_what_is_wanted_is_written() -> None:
    async def written(make: Callable[[], Lines], *paths: str) -> list[str]:
        async with served(make) as two:
            reader, writer = await asyncio.open_connection("127.0.0.1", two["a"].port)
            for path in paths:
                writer.write(request(path))
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].split()[0]
                await reader.readexactly(int(length))
            writer.transport.abort()
            lines = log_of(two["a"])
        return [line["path"] for line in lines.all]

    asked = ["/predict/ann"] * 20 + ["/predict/nobody"]
    assert await written(lambda: Lines(0.0), *asked) == ["/predict/nobody"]
    draws = [0.9, 0.02, *[0.9] * 18]
    assert await written(lambda: Lines(0.05, list(draws)), *asked) == ["/predict/ann", "/predict/nobody"]


async def test_calls_over_grpc_have_lines(two: Cluster) -> None:
    node = two["a"]
    port = Port(Application(node.server), max_bytes=1 << 20)
    number = await port.open("127.0.0.1:0")
    row = {"name": "x", "datatype": "FP64", "shape": [1, 2], "contents": {"fp64_contents": [1.0, 2.0]}}
    infer = partial(message("ModelInferRequest"), inputs=[row])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
        call: Any = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=lambda each: each.SerializeToString(),
            response_deserializer=message("ModelInferResponse").FromString,
        )
        log = log_of(node)
        async with asyncio.timeout(PATIENCE_S):
            while not log.fast:  # cold at first
                await call(infer(model_name="ann"), metadata=(("x-request-id", "g-1"),))
        with pytest.raises(grpc.aio.AioRpcError):
            await call(infer(model_name="nobody"))
    await port.close(1.0)
    *answered, refused = log.all
    assert {(each["protocol"], each["user"], each["status"]) for each in answered} == {("grpc", "ann", 200)}
    assert {each["request_id"] for each in answered} == {"g-1"}
    assert (refused["protocol"], refused["user"], refused["status"]) == ("grpc", "nobody", 404)


async def test_where_it_is_off_connections_are_those_of_before() -> None:
    async with cluster.running({"ann": Quick}, {"ann": "a"}, names="a") as one:
        made: web.RequestHandler = one["a"].server()
        assert type(made).__name__ == "PlainConnection"
        assert made.access_logger is None


def test_a_process_writes_it_beside_its_log(tmp_path: Path) -> None:
    env = {"TENANTRY_ACCESS_LOG": "errors", "TENANTRY_LOG_LEVEL": "error", "TENANTRY_WORKERS": "0"}
    with servers.running(tmp_path, 1, **env) as running:
        url = running.url("server-0")
        statuses = [ask(urllib.request.Request(f"{url}{path}")).status for path in ("/healthz", "/nothing")]
        assert statuses == [200, 404]
        log = tmp_path / "server-0.log"
        (line,) = until(lambda: log.read_text().splitlines(), "the line is written")
    written = json.loads(line)
    assert (written["event"], written["path"], written["status"]) == ("request", "/nothing", 404)


@pytest.mark.parametrize("wrong", ["on", "sample", "sample:2", "sample:0.1:0.2", "all\n"])
def test_a_misspelt_setting_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidSetting, match="TENANTRY_ACCESS_LOG: must be off, errors, all, or sample:"):
        ServerSettings.load(access_log=wrong)

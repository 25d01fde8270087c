"""Spans on their way: no request waits for a collector, and one that is gone is told once."""

import gc
import socket
import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tenantry.tracing import exporting
from tenantry.tracing.exporting import Export, _Ended, _endpoint, _Resting
from tenantry.tracing.sampling import Sampler
from tests.support.network import collector
from tests.support.waiting import until


class Stuck:
    """A collector that takes a connection and never answers."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answers = threading.Event()

    def __call__(self, data: bytes) -> bool:
        self.asked.set()
        self.answers.wait(180)
        return bool(data)


class Scripted:
    """Fails as it is told to, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.result: bool | Exception = False

    def __call__(self, data: bytes) -> bool:
        self.calls += bool(data)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(exporting, "time", clock)
    return clock


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.answers.set()


def _spans() -> int:
    """How many ended spans this process keeps."""
    return sum(isinstance(each, _Ended) for each in gc.get_objects())


def _end_one(export: Export) -> None:
    span = Sampler(1.0, follows=True, ended=export.ended).begin(None, None)
    assert span is not None
    span.end()


async def test_a_collector_that_hangs_holds_up_nothing_and_spans_are_bounded(
    stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    before = _spans()
    export = Export("tenantry-server", "server-0", {}, stuck)
    _end_one(export)
    stuck.asked.wait(180)
    for _ in range(5000):
        _end_one(export)
    assert _spans() - before == 2048 + 1, "those that wait, and the one that is sent"
    with capture_logs() as logged:
        await export.close(0.05)
    assert [line["event"][:21] for line in logged] == ["spans are dropped: th"]


def test_a_dead_collector_is_told_once_and_left_alone_for_a_while(clock: Clock) -> None:
    inner = Scripted()
    resting = _Resting(inner, "http://collector", {}, scope="tests")
    with capture_logs() as logged:
        for _ in range(1000):
            resting.export([])
            clock.now_s += 1.0
        assert 10 < inner.calls < 40  # once a minute in the end
        assert len(logged) == 1
        inner.result = RuntimeError("a bug of a library")
        clock.now_s += 100.0
        resting.export([])
        assert resting.rests_until_s > clock.now_s
        inner.result = True
        clock.now_s += 100.0
        resting.export([])
        assert resting.rests_until_s <= clock.now_s
    assert [line["event"] for line in logged] == [
        "the collector does not take spans; nothing is traced until it is tried again",
        "the collector takes spans again",
    ]


async def test_while_it_rests_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real exporter, at a port where nobody listens."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.socket() as silent, capture_logs() as logged:
        silent.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        export = Export("tenantry-server", "server-0", {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        assert export.may_leave()
        _end_one(export)
        until(lambda: not export.may_leave(), "the exporter rests")
        await export.close(30)
    assert logged[0]["endpoint"] == endpoint
    assert logged[0]["error"]


async def test_what_is_sent_arrives_with_the_name_of_this_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector.running() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        export = Export("tenantry-server", "server-7", {})
        span = Sampler(1.0, follows=True, ended=export.ended).begin(None, None)
        assert span is not None
        span.name = "POST"
        span.about(user_id="ann", model_id="s3://bucket/key?versionId=7")
        span.end()
        await export.close(180)
        (seen,) = running.spans(f"{span.trace_id:032x}")
    assert (seen.name, seen.kind, seen.parent_id, seen.failed) == ("POST", "SERVER", "", False)
    assert seen.resource["service.name"] == "tenantry-server"
    assert seen.resource["service.instance.id"] == "server-7"
    assert seen.attributes["tenantry.user_id"] == "ann"
    assert "bucket" not in seen.attributes["tenantry.model_id"]


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({}, "http://localhost:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://me:secret@host:1/in?key=secret"}, "https://host:1/in"),
    ],
)
def test_an_endpoint_is_shown_without_secrets(environ: dict[str, str], shown: str) -> None:
    assert _endpoint(environ) == shown

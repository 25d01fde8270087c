"""Traces of a fleet: two servers as processes, one of them passes on, and a worker predicts."""

import json
import urllib.request
from collections.abc import Iterator
from random import getrandbits

import pytest

from tenantry_server.toys import SumModel
from tests.support.network import collector
from tests.support.network.collector import Collector, Seen
from tests.support.processes import servers
from tests.support.processes.servers import Servers
from tests.support.waiting import until

ROWS = json.dumps({"instances": [[1, 2]]}).encode()
CALLER = "b7ad6b7169203331"
IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}  # each import is a line of the log
OTEL = "opentelemetry.sdk"
TOLD = "the collector does not take spans"


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collector.running() as running:
        yield running


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, collected: Collector) -> Iterator[Servers]:
    """`server-0` is asked, `server-1` holds the user's shard; a trace begins nowhere by itself."""
    on = {
        "TENANTRY_TRACES": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url,
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_SERVICE_NAME": "models",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60",  # where the machine is slow
    }
    with servers.running(tmp_path_factory.mktemp("traced"), 2, **on) as fleet:
        fleet.add("ann", SumModel(), "server-1")
        fleet.until_acknowledged()
        yield fleet


def _ask(fleet: Servers, user_id: str = "ann", *, flags: str = "01", server_id: str = "server-0") -> str:
    """Ask as a caller that has a trace, until the holder answers: a slow one may be taken for lost."""
    trace_id = ""

    def by_the_holder() -> bool:
        nonlocal trace_id
        trace_id = f"{getrandbits(128) | 1:032x}"
        sent = {"traceparent": f"00-{trace_id}-{CALLER}-{flags}", "tracestate": "vendor=7"}
        request = urllib.request.Request(f"{fleet.url(server_id)}/predict/{user_id}", ROWS, sent)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.loads(answer.read()) == {"predictions": [3.0]}
            return bool(answer.headers["Tenantry-Server"] == "server-1")

    until(by_the_holder, "an answer of the user's own server")
    return trace_id


def _whole(collected: Collector, trace_id: str) -> dict[str, Seen]:
    """Wait until the trace has the spans that end last, of each server that was asked; return all."""

    def complete() -> bool:
        spans = collected.spans(trace_id)
        known = {CALLER, *(each.span_id for each in spans)}
        return any(each.name == "predict worker" for each in spans) and known >= {
            each.parent_id for each in spans
        }

    until(complete, "the spans of all servers")
    spans = collected.spans(trace_id)
    return {f"{each.name} by {each.resource['service.instance.id']}": each for each in spans}


def test_a_hop_a_load_and_a_worker_are_one_trace(fleet: Servers, collected: Collector) -> None:
    route = "POST /predict/{user_id}"
    fleet.add("cold", SumModel(), "server-1")
    fleet.until_acknowledged()
    spans = _whole(collected, _ask(fleet, "cold"))
    assert set(spans) == {
        f"{route} by server-0",
        "hop by server-0",
        f"{route} by server-1",
        "load by server-1",
        "predict worker by server-1",
    }
    names = (f"{route} by server-0", "hop by server-0", f"{route} by server-1")
    asked, hop, answered = (spans[name] for name in names)
    assert (asked.parent_id, asked.kind) == (CALLER, "SERVER")
    assert (hop.parent_id, hop.kind) == (asked.span_id, "CLIENT")
    assert (answered.parent_id, answered.kind) == (hop.span_id, "SERVER")
    for name in ("load", "predict worker"):
        step = spans[f"{name} by server-1"]
        assert (step.parent_id, step.kind) == (answered.span_id, "INTERNAL")
        assert step.attributes["tenantry.model_id"] == answered.attributes["tenantry.model_id"]
        assert step.took_ns <= answered.took_ns
    for span in (asked, answered):
        assert span.attributes["tenantry.user_id"] == "cold"
        assert span.attributes["tenantry.server_id"] == "server-1"
        assert span.attributes["http.response.status_code"] == 200
        assert span.resource["service.name"] == "models"
    assert hop.attributes["tenantry.peer_id"] == "server-1"
    assert hop.attributes["http.response.status_code"] == 200
    assert {span.state for span in spans.values()} == {"vendor=7"}


def test_what_the_caller_does_not_keep_leaves_no_span_anywhere(
    fleet: Servers, collected: Collector
) -> None:
    unkept = [_ask(fleet, flags="00") for _ in range(3)]
    _whole(collected, _ask(fleet))  # and by then those before would have arrived
    assert [collected.spans(trace_id) for trace_id in unkept] == [[], [], []]


def test_a_server_that_stops_sends_what_it_has(fleet: Servers, collected: Collector) -> None:
    """It has ended when `stop` returns, and would have waited ten minutes for the next batch."""
    with fleet.environment(OTEL_BSP_SCHEDULE_DELAY="600000", **IMPORTS):
        fleet.start("server-2")
    fleet.until_acknowledged()
    trace_id = _ask(fleet, server_id="server-2")
    fleet.stop("server-2")
    senders = {span.resource["service.instance.id"] for span in collected.spans(trace_id)}
    assert "server-2" in senders
    assert OTEL in fleet.log("server-2")


def test_a_server_that_does_not_trace_imports_nothing_of_it(fleet: Servers, collected: Collector) -> None:
    """In the running process, after a request with a trace; the test above shows that it would be seen."""
    with fleet.environment(TENANTRY_TRACES="off", **IMPORTS):
        fleet.start("server-3")
    fleet.until_acknowledged()
    trace_id = _ask(fleet, server_id="server-3")
    fleet.stop("server-3")
    log = fleet.log("server-3")
    assert "import time:" in log
    assert OTEL not in log
    spans = list(_whole(collected, trace_id).values())  # the trace goes on where it is kept
    assert {span.resource["service.instance.id"] for span in spans} == {"server-1"}


def test_a_collector_that_refuses_costs_no_answer_and_one_line(
    fleet: Servers, collected: Collector
) -> None:
    """The last test of this file: its servers leave the collector alone from here on."""
    collected.status = 400
    tried = collected.requests
    _ask(fleet)
    until(lambda: TOLD in fleet.log("server-0"), "it is told")
    for _ in range(50):
        _ask(fleet)
    assert collected.requests > tried
    assert fleet.log("server-0").count(TOLD) == 1

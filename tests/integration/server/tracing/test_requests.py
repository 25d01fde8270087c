"""Spans of requests, by the application and by the fast path alike."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry.tracing.sampling import Sampler
from tenantry.tracing.spans import Kind, Span
from tenantry_server.app import FAST_PATH
from tenantry_server.tracing import requests
from tests.support.tenants.application import FRAME, Client
from tests.support.tenants.registered import Tenants
from tests.support.waiting import PATIENCE_S

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ROW = FRAME[:1].to_dict("records")
PATHS = {
    "/predict/{}": ROW,
    "/v1/models/{}:predict": {"instances": ROW},
    "/v2/models/{}/infer": {
        "inputs": [
            {"name": name, "datatype": "FP64", "shape": [1, 1], "data": [float(value)]}
            for name, value in ROW[0].items()
        ]
    },
}


class Traced:
    """A server and the spans that it ended."""

    def __init__(self, client: Client, spans: list[Span]) -> None:
        self.client = client
        self.spans = spans

    async def post(self, path: str, body: Any, *, flags: str = "01", **more: str) -> tuple[int, str | None]:
        """Ask as a caller that has a trace; return the status and which model answered."""
        sent = {"traceparent": f"00-{TRACE}-{CALLER}-{flags}", **more}
        async with self.client.post(path, json=body, headers=sent) as response:
            await response.read()
            return response.status, response.headers.get("Tenantry-Model-Id")

    def taken(self) -> list[Span]:
        """What has ended since this was called last."""
        spans, self.spans[:] = list(self.spans), []
        return spans


@pytest.fixture(params=["application", "fast path"])
async def traced(tenants: Tenants, request: pytest.FixtureRequest) -> AsyncIterator[Traced]:
    ended: list[Span] = []
    app = tenants.app(server_id="server-7", peeks=True, predict_timeout_s=60.0)
    async with TestClient(TestServer(app)) as client:
        assert client.server.runner is not None
        server = client.server.runner.server
        assert server is not None
        if request.param == "fast path":
            app[FAST_PATH].install(server)
        requests.install(server, Sampler(0.0, follows=True, ended=ended.append))
        yield Traced(client, ended)


@pytest.mark.parametrize("path", PATHS)
async def test_a_prediction_is_a_server_span_with_its_kernel_in_it(traced: Traced, path: str) -> None:
    """Named by HTTP's conventions; the first request loads the model, others are answered at once."""
    asked = path.format("ridge")
    assert (await traced.post(asked, PATHS[path]))[0] == 200
    assert {span.name for span in traced.taken()} >= {"load", f"POST {path.format('{user_id}')}"}
    for _ in range(3):  # by the fast path, once the heads are known
        status, model_id = await traced.post(asked, PATHS[path])
        *parts, span = traced.taken()
        assert (span.name, span.kind) == (f"POST {path.format('{user_id}')}", Kind.SERVER)
        assert (f"{span.trace_id:032x}", f"{span.parent_id:016x}") == (TRACE, CALLER)
        assert span.attributes == {
            "http.request.method": "POST",
            "http.response.status_code": status,
            "http.route": path.format("{user_id}"),
            "tenantry.model_id": model_id,
            "tenantry.server_id": "server-7",
            "tenantry.user_id": "ridge",
            "url.path": asked,
        }
        assert not span.failed
        assert 0 < span.began_ns <= span.ended_ns
        assert [part.parent_id for part in parts] == [span.span_id] * len(parts)
        assert [part.name for part in parts][-1].startswith("predict ")


async def test_the_fast_path_answers_what_is_sampled_too(traced: Traced) -> None:
    """Or the test above would say nothing of it."""
    runner = traced.client.server.runner
    assert runner is not None
    fast: Any = getattr(runner.server, "answering", None)
    if fast is None:
        return
    answered: list[bytes | None] = []
    plain = fast._answer

    def answer(*asked: Any) -> bytes | None:
        answered.append(plain(*asked))
        return answered[-1]

    fast._answer = answer
    async with asyncio.timeout(PATIENCE_S):
        while not (found := answered[-1] if answered else None):  # until the model was seen to be quick
            await traced.post("/predict/ridge", ROW)
    assert found.startswith(b"HTTP/1.1 200")


async def test_an_unsampled_request_leaves_nothing(traced: Traced) -> None:
    for flags in ("00", "02"):
        for _ in range(3):
            assert (await traced.post("/predict/ridge", ROW, flags=flags))[0] == 200
    assert traced.taken() == []


async def test_a_failure_is_an_error_with_its_reason_and_no_word_of_a_row(
    traced: Traced, strange: Tenants
) -> None:
    assert (await traced.post("/predict/raises", ROW))[0] == 500
    *_, span = traced.taken()
    assert span.failed
    assert span.attributes["error.type"] == "PredictionFailed"
    assert span.attributes["http.response.status_code"] == 500
    assert "always fails" not in str(span.attributes)


async def test_a_refusal_is_no_error_of_this_server(traced: Traced) -> None:
    assert (await traced.post("/predict/nobody", ROW))[0] == 404
    *_, span = traced.taken()
    assert not span.failed
    assert span.attributes["tenantry.reason"] == "ModelNotAssigned"


async def test_a_path_without_a_route_names_no_span(traced: Traced) -> None:
    """Else a scanner fills a collector with names."""
    await traced.post("/wp-admin/setup.php", {})
    (span,) = traced.taken()
    assert span.name == "POST"
    assert "http.route" not in span.attributes


async def test_probes_are_not_traced(traced: Traced) -> None:
    sent = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    for path in ("/healthz", "/readyz", "/metrics"):
        async with traced.client.get(path, headers=sent) as response:
            assert response.status == 200
    assert traced.taken() == []


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-{CALLER}-01",
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01" * 60,
        "00-" + "\t" * 50,
    ],
)
async def test_a_hostile_traceparent_changes_no_answer(traced: Traced, parent: str) -> None:
    for _ in range(3):
        status, _ = await traced.post("/predict/ridge", ROW, traceparent=parent, tracestate="=" * 600)
        assert status == 200
    assert traced.taken() == []


async def test_two_parents_are_none(traced: Traced) -> None:
    both = [("traceparent", f"00-{TRACE}-{CALLER}-01"), ("traceparent", f"00-{TRACE[::-1]}-{CALLER}-01")]
    for _ in range(3):
        async with traced.client.post("/predict/ridge", json=ROW, headers=both) as response:
            assert response.status == 200
    assert traced.taken() == []

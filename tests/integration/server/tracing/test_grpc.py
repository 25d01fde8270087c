"""Traces over gRPC: a call with ``traceparent`` in its metadata continues its caller's trace."""

from pathlib import Path

import grpc
import pytest

from tenantry.tracing.exporting import Export
from tenantry.tracing.sampling import Sampler
from tests.support.network import collector
from tests.support.network.collector import Seen
from tests.support.network.grpc_port import infer, served
from tests.support.waiting import PATIENCE_S

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def sent(trace_id: str, flags: str = "01") -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{trace_id}-{CALLER}-{flags}"), ("tracestate", "vendor=7"))


async def test_a_call_continues_the_trace_of_its_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single calls, slow and fast, calls that fail, and each message of a stream; nobody else's."""
    with collector.running() as collected:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        export = Export("tenantry-server", "server-7", {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url})
        sampler = Sampler(0.0, follows=True, ended=export.ended, may_leave=export.may_leave)
        async with served(tmp_path, sampler=sampler) as stub:
            for _ in range(4):
                await stub.send("ModelInfer", infer(), metadata=sent(TRACE))
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.send("ModelInfer", infer("nobody"), metadata=sent(TRACE[::-1]))
            await stub.send("ModelInfer", infer(), metadata=sent("1" * 32, "00"))
            await stub.send("ModelInfer", infer(), metadata=(("traceparent", "nonsense"),))
            await stub.send("ModelInfer", infer())
            stream = stub.stream([infer(), infer()], metadata=sent("2" * 32))
            assert len([each async for each in stream]) == 2
        await export.close(PATIENCE_S)
        of_calls = [span for span in collected.spans(TRACE) if span.kind == "SERVER"]
        (failed,) = collected.spans(TRACE[::-1])
        of_stream = [span for span in collected.spans("2" * 32) if span.kind == "SERVER"]
        assert collected.spans("1" * 32) == []
    assert [about(span) for span in of_calls] == [("good", 200)] * 4
    assert [about(span) for span in of_stream] == [("good", 200)] * 2
    assert about(failed) == ("nobody", 404)
    for span in (*of_calls, failed, *of_stream):
        assert (span.name, span.parent_id, span.state) == (
            "POST /v2/models/{user_id}/infer",
            CALLER,
            "vendor=7",
        )


def about(span: Seen) -> tuple[str, int]:
    return span.attributes["tenantry.user_id"], span.attributes["http.response.status_code"]

"""A collector of OpenTelemetry's: takes spans by OTLP over HTTP, and keeps them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True)
class Seen:
    """One span, as it arrived.

    Attributes:
        trace_id, span_id, parent_id: in hexadecimal digits; no parent: empty.
        kind: SERVER, CLIENT or INTERNAL.
        resource: who sent it.
        took_ns: from its begin to its end.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    kind: str
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    took_ns: int


class Collector:
    """What was collected.

    Attributes:
        url: of the collector.
        requests: that it got.
        status: with which it answers.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests = 0
        self.status = 200
        self._seen: list[Seen] = []

    def spans(self, trace_id: str) -> list[Seen]:
        """Those of one trace."""
        return [span for span in list(self._seen) if span.trace_id == trace_id]

    def about(self, attribute: str, value: str) -> list[Seen]:
        """Those with this attribute, as a person searches for them."""
        return [span for span in list(self._seen) if span.attributes.get(attribute) == value]

    def take(self, path: str, body: bytes) -> int:
        """Take what a server sent; return the status to answer with."""
        assert path == "/v1/traces"
        self.requests += 1
        if self.status == 200:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _values(group.resource.attributes)
                for scope in group.scope_spans:
                    self._seen += (_seen(span, resource) for span in scope.spans)
        return self.status


@contextmanager
def running() -> Iterator[Collector]:
    """A collector on a port that the system chose, ended with the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(collector.take(self.path, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        try:
            yield collector
        finally:
            server.shutdown()


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def _seen(span: Any, resource: dict[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        state=span.trace_state,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=_values(span.attributes),
        resource=resource,
        took_ns=span.end_time_unix_nano - span.start_time_unix_nano,
    )

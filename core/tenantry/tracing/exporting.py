"""Spans on their way to a collector, by OTLP over HTTP. The only module that imports OpenTelemetry.

A thread of its own encodes and sends; the end of a span only puts it into a bounded queue. A collector
that does not answer is logged once and then left alone for a while, in which nothing is traced.

Leans on these of OpenTelemetry 1.45, without which tests/unit/core/tracing/test_exporting.py fails: of
a span, BatchSpanProcessor reads `context.trace_flags` alone; `OTLPSpanExporter._client.export` posts bytes
with the headers, certificates, compression and retries that OTEL_* ask for.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from tenantry.errors.base import bounded
from tenantry.processes import backoff
from tenantry.processes.logs import OnChange
from tenantry.tracing import otlp
from tenantry.tracing.spans import Span, Value

log = structlog.get_logger(__name__)

_FIRST_REST_S, _LAST_REST_S = 5.0, 60.0  # after an export that failed
_MOST_WORDS = 300
_SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Post(Protocol):
    """Sends what is encoded, and says whether the collector took it."""

    def __call__(self, data: bytes) -> bool:
        """Send; may take long, and may raise anything."""


class Export:
    """Takes spans, and sends them in batches.

    Args:
        service: what kind of process this is, as `service.name` says where no variable does.
        instance: this process's name among them.
        environ: with the standard variables OTEL_*, which OpenTelemetry reads itself.
        post: sends them; None: by OTLP over HTTP.
    """

    def __init__(
        self, service: str, instance: str, environ: Mapping[str, str], post: Post | None = None
    ) -> None:
        resource = _resource(service, instance)
        self._sending = _Resting(post or _by_http(), _endpoint(environ), resource, scope=service)
        self._processor = BatchSpanProcessor(self._sending)

    def ended(self, span: Span) -> None:
        """Take a span that has ended; dropped where too many wait."""
        self._processor.on_end(_Ended(span))

    def may_leave(self) -> bool:
        """Return whether the collector took what it was sent last, or is due to be tried again."""
        return time.monotonic() >= self._sending.rests_until_s

    async def close(self, within_s: float) -> None:
        """Send what waits, for at most so many seconds."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            _on(loop, sent.set)

        threading.Thread(target=send, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(within_s):
                await sent.wait()
        except TimeoutError:
            log.warning("spans are dropped: the collector did not take them before this process ended")


def _on(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


class _Ended(ReadableSpan):
    """A span of ours, as the processor takes it: one of its own costs as much as all else of a trace."""

    def __init__(self, span: Span) -> None:
        self._context = _SAMPLED
        self.span = span


class _Resting(SpanExporter):
    """Sends, unless that failed a moment ago."""

    def __init__(self, post: Post, endpoint: str, resource: Mapping[str, Value], *, scope: str) -> None:
        self._post = post
        self._scope = scope
        self._endpoint = endpoint
        self._resource = resource
        self._words = _Words()
        self._failed = OnChange(log)
        self._failures = 0
        self.rests_until_s = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if time.monotonic() < self.rests_until_s:
            return SpanExportResult.FAILURE
        ours = [each.span for each in spans if isinstance(each, _Ended)]
        try:
            taken = self._post(otlp.request(ours, self._resource, self._scope))
        except Exception as error:  # of a library, in a thread of it, which would end
            self._words.last = f"{type(error).__name__}: {error}"
            taken = False
        if not taken:
            self._rest()
            return SpanExportResult.FAILURE
        self._failures = 0
        self._failed.over("the collector takes spans again", endpoint=self._endpoint)
        return SpanExportResult.SUCCESS

    def _rest(self) -> None:
        self._failures += 1
        rest_s = backoff.delay_s(self._failures, first_s=_FIRST_REST_S, last_s=_LAST_REST_S)
        self.rests_until_s = time.monotonic() + rest_s
        self._failed.warning(
            "the collector does not take spans; nothing is traced until it is tried again",
            endpoint=self._endpoint,
            error=bounded(self._words.last, _MOST_WORDS),
        )


def _by_http() -> Post:
    client = OTLPSpanExporter()._client  # noqa: SLF001 - its `export` takes no bytes; see above

    def post(data: bytes) -> bool:
        return bool(client.export(data).success)

    return post


def _resource(service: str, instance: str) -> dict[str, Value]:
    """Return what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say of this process, and its name."""
    resource = Resource.create({"service.instance.id": instance})
    found = {
        name: value for name, value in resource.attributes.items() if isinstance(value, str | int | float)
    }
    if str(found.get("service.name", "")).startswith("unknown_service"):
        found["service.name"] = service
    return found


class _Words(logging.Handler):
    """Keeps what OpenTelemetry logged last from the log, where it would stand once for each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.last = "it did not say why"
        logger = logging.getLogger("opentelemetry")
        logger.handlers, logger.propagate = [self], False
        logger.setLevel(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _endpoint(environ: Mapping[str, str]) -> str:
    """Return where spans are sent, without what may be a secret in it."""
    given = next(filter(None, map(environ.get, _ENDPOINTS)), "http://localhost:4318")
    url = urlsplit(given)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"

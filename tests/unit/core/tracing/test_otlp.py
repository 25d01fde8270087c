"""What is written by hand is what opentelemetry-proto reads."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tenantry.tracing import otlp
from tenantry.tracing.spans import Kind, Span, Value

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
VALUES = TEXTS | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False)
ATTRIBUTES = st.dictionaries(TEXTS, VALUES, max_size=5)


@st.composite
def ended(draw: st.DrawFn) -> Span:
    span = Span(
        draw(TEXTS),
        draw(st.integers(1, (1 << 128) - 1)),
        draw(st.integers(0, (1 << 64) - 1)),
        draw(st.sampled_from(["", "a=1,b=2"])),
        lambda _: None,
        kind=draw(st.sampled_from(Kind)),
        remote=draw(st.booleans()),
    )
    span.attributes = draw(ATTRIBUTES)
    span.failed = draw(st.booleans())
    span.end()
    return span


def read(attributes: Any) -> dict[str, Value]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@given(st.lists(ended(), max_size=3), ATTRIBUTES)
def test_every_span_is_read_as_it_is(spans: list[Span], resource: dict[str, Value]) -> None:
    message = ExportTraceServiceRequest.FromString(otlp.request(spans, resource, "tests"))
    (group,) = message.resource_spans
    (scope,) = group.scope_spans
    assert read(group.resource.attributes) == resource
    assert scope.scope.name == "tests"
    assert len(scope.spans) == len(spans)
    for span, seen in zip(spans, scope.spans, strict=True):
        assert int.from_bytes(seen.trace_id, "big") == span.trace_id
        assert int.from_bytes(seen.span_id, "big") == span.span_id
        assert int.from_bytes(seen.parent_span_id, "big") == span.parent_id
        assert (seen.name, seen.trace_state) == (span.name, span.state)
        assert Message.SpanKind.Name(seen.kind) == f"SPAN_KIND_{span.kind.value}"
        assert (seen.start_time_unix_nano, seen.end_time_unix_nano) == (span.began_ns, span.ended_ns)
        assert read(seen.attributes) == span.attributes
        assert [type(value) for value in read(seen.attributes).values()] == list(
            map(type, span.attributes.values())
        )
        assert (seen.status.code == Status.STATUS_CODE_ERROR) is span.failed
        assert seen.flags & 1
        assert bool(seen.flags & 0x200) is span.remote


def test_what_is_no_unicode_or_no_number_does_not_stop_the_others() -> None:
    span = Span("\udc80", 1, 0, "", lambda _: None)
    span.attributes = {"odd": "\udc80", "nan": math.nan}
    span.end()
    message = ExportTraceServiceRequest.FromString(otlp.request([span], {}, "tests"))
    (seen,) = message.resource_spans[0].scope_spans[0].spans
    assert seen.name == "?"
    assert read(seen.attributes)["odd"] == "?"

"""Which requests are traced, by OpenTelemetry's standard samplers."""

import pytest

from tenantry.errors import InvalidSetting
from tenantry.tracing.opening import Traces, opened
from tenantry.tracing.sampling import Sampler, of_environment
from tenantry.tracing.spans import Span

LOW, HIGH = f"{7:032x}", f"{(1 << 64) - 1:032x}"  # trace ids by whose lower half a ratio says yes and no


def parent(trace_id: str, *, sampled: bool) -> str:
    return f"00-{trace_id}-b7ad6b7169203331-{sampled:02x}"


def sampler(ratio: float, *, follows: bool = True) -> Sampler:
    return Sampler(ratio, follows=follows, ended=lambda _: None)


def begun(span: Span | None) -> Span:
    assert span is not None
    return span


def test_a_callers_decision_holds() -> None:
    assert sampler(0.0).begin(parent(HIGH, sampled=True), None) is not None
    assert sampler(1.0).begin(parent(LOW, sampled=False), None) is None


def test_without_a_parent_based_sampler_the_trace_id_decides_as_everywhere() -> None:
    half = sampler(0.5, follows=False)
    assert half.begin(parent(LOW, sampled=False), None) is not None
    assert half.begin(parent(HIGH, sampled=True), None) is None


def test_a_span_continues_its_callers() -> None:
    span = begun(sampler(0.0).begin(parent(HIGH, sampled=True), "a=1"))
    assert (span.trace_id, span.parent_id, span.remote) == (int(HIGH, 16), 0xB7AD6B7169203331, True)
    assert span.lines.startswith(f"traceparent: 00-{HIGH}-{span.span_id:016x}-01\r\n".encode())
    assert span.lines.endswith(b"tracestate: a=1\r\n")


def test_one_of_a_hundred_traces_begins_here() -> None:
    """A ratio of chance: of 100,000 the bounds are ten standard deviations away."""
    some = sampler(0.01)
    spans = [span for _ in range(100_000) if (span := some.begin(None, None)) is not None]
    assert 690 < len(spans) < 1310
    assert len({span.trace_id for span in spans}) == len(spans)
    assert all(span.trace_id & ((1 << 64) - 1) < (1 << 64) // 100 + 1 for span in spans)
    assert {span.parent_id for span in spans} == {0}


@pytest.mark.parametrize("ratio", [0.01, 0.3, 1.0])
def test_gaps_keep_the_same_share(ratio: float) -> None:
    """As coins do: the share is right, and a kept request says nothing of the next one."""
    some = sampler(ratio)
    gaps = [some.gap() for _ in range(20_000)]
    assert min(gaps) == 1
    assert 0.95 < ratio * sum(gaps) / len(gaps) < 1.05
    assert abs(gaps.count(1) / len(gaps) - ratio) < 0.02
    assert sampler(0.0).gap() > 1 << 50


def test_what_another_server_passes_on_begins_no_trace() -> None:
    """That server has decided so; else the trace would begin in the middle."""
    assert sampler(1.0).begin(None, None, is_hop=True) is None
    assert sampler(1.0).begin("nonsense", None, is_hop=True) is None
    assert sampler(1.0).begin("nonsense", None) is not None


def test_nothing_is_traced_that_can_not_leave() -> None:
    quiet = Sampler(1.0, follows=True, ended=lambda _: None, may_leave=lambda: False)
    assert quiet.begin(None, None) is None
    assert quiet.begin(parent(HIGH, sampled=True), None) is None


@pytest.mark.parametrize(
    ("name", "arg", "expected"),
    [
        ("", "", (1.0, True)),
        ("always_on", "", (1.0, False)),
        ("ALWAYS_OFF", "", (0.0, False)),
        ("parentbased_always_off", "0.5", (0.0, True)),
        ("traceidratio", "0.25", (0.25, False)),
        ("parentbased_traceidratio", "0.01", (0.01, True)),
        ("parentbased_traceidratio", "", (1.0, True)),
    ],
)
def test_the_standard_variables_name_the_sampler(name: str, arg: str, expected: tuple[float, bool]) -> None:
    assert of_environment({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": arg}) == expected


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1 %"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
        {"OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_a_variable_asks_in_vain_is_said_at_the_start(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting, match="OTEL_"):
        opened(Traces.OTLP, "tenantry-server", "server-0", environ)


@pytest.mark.parametrize(
    "environ",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "TRUE"}],
)
def test_the_standard_variables_switch_traces_off(environ: dict[str, str]) -> None:
    assert opened(Traces.OTLP, "tenantry-server", "server-0", environ) is None
    assert opened(Traces.OFF, "tenantry-server", "server-0", {}) is None

"""What traces cost the fast path: a server that samples 1 % of its requests beside one without traces."""

from dataclasses import replace

from tests.support.network import collector

from benchmarks.serving import ours
from benchmarks.serving.endpoint import check
from benchmarks.serving.options import Options
from benchmarks.serving.races import ridge_tenants
from benchmarks.serving.report import Row, quantiles, rate, spread
from benchmarks.serving.throughput import interleaved

_RATIO = 0.01
_TARGET = 0.05  # more CPU for a request, at most


def traces(options: Options) -> list[Row]:
    """The Ridge pipeline of 50 tenants, asked of both in turns; a collector takes the spans."""
    tenants = ridge_tenants(options)
    ids = ours.file_ids(tenants)
    folder = options.folder
    with (
        collector.running() as collected,
        ours.running(tenants, ids, folder / "traced", _settings(collected.url)) as traced,
        ours.running(tenants, ids, folder / "untraced") as plain,
    ):
        own, other = replace(traced, name="traces of 1 %"), replace(plain, name="the same without traces")
        for endpoint in (own, other):
            check(endpoint, tenants)
        rounds = interleaved([own, other], rounds=options.rounds, seconds=options.seconds)
        sent = collected.requests
    mine, theirs = rounds.load(own.name), rounds.load(other.name)
    costs = rounds.cpu_ratios(other.name, own.name)  # of a request with traces, for one without
    return [
        Row(
            f"{own.name}: Ridge pipeline, {tenants.count} tenants, {sent} exports",
            other.name,
            rate(mine),
            rate(theirs),
            spread(*rounds.ratios(own.name, other.name)),
            f"at most {_TARGET:.0%} more CPU",
            None if costs is None else costs[1] <= 1 + _TARGET,
            quantiles(mine.p50_ms, mine.p99_ms),
            quantiles(theirs.p50_ms, theirs.p99_ms),
            cpu="" if costs is None else " to ".join(f"{cost - 1:+.1%}" for cost in costs),
        )
    ]


def _settings(url: str) -> dict[str, str]:
    return {
        "TENANTRY_TRACES": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(_RATIO),
    }

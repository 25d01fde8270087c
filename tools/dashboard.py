"""Write the Grafana dashboard of a fleet, from the description below: `make charts` runs it.

Owns where panels lie and how Grafana's JSON looks. Their expressions are checked in
tests/contract/monitoring/test_dashboard.py: each speaks of series that exist, and Prometheus parses it.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PLACE = Path(__file__).parents[1] / "manifests" / "components" / "monitoring" / "dashboard.json"
_COLUMNS = 24
_HEIGHT, _STAT_HEIGHT, _WIDTH, _STAT_WIDTH = 8, 4, 8, 4
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Graph(NamedTuple):
    """One panel.

    Attributes:
        title: what it shows.
        queries: legend -> expression; %s becomes the matcher of the chosen namespaces.
        unit: Grafana's name of it.
        stat: one number instead of lines.
        stacked: areas on top of each other.
        words: what a reader should know.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    stat: bool = False
    stacked: bool = False
    words: str = ""


_OURS = " and on (namespace, instance) tenantry_ready{%s}"
ROWS: dict[str, list[Graph]] = {
    "Fleet": [
        Graph("Servers with a lease", {"": "max(tenantry_operator_servers{%s})"}, stat=True),
        Graph("Servers that are ready", {"": "sum(tenantry_ready{%s})"}, stat=True),
        Graph("Servers that trust what they know", {"": "sum(tenantry_lease_held{%s})"}, stat=True),
        Graph("Operators that lead", {"": "sum(tenantry_operator_leading{%s})"}, stat=True),
        Graph("Registry answers", {"": "max(tenantry_operator_registry_up{%s})"}, stat=True),
        Graph("TenantModels", {"": "sum(tenantry_operator_tenantmodels{%s})"}, stat=True),
    ],
    "Requests": [
        Graph(
            "Requests by status",
            {"{{code}}": "sum by (code) (rate(tenantry_requests_total{%s}[$__rate_interval]))"},
            "reqps",
            stacked=True,
            words="A request that is passed on counts at both servers.",
        ),
        Graph(
            "Time to the answer",
            {
                f"{percent}th percentile": f"histogram_quantile({percent / 100}, sum by (le) "
                "(rate(tenantry_request_seconds_bucket{%s}[$__rate_interval])))"
                for percent in (50, 90, 99)
            },
            "s",
        ),
        Graph(
            "Share of errors",
            {
                name: f'sum(rate(tenantry_requests_total{{%s, code=~"{codes}"}}[$__rate_interval])) '
                "/ sum(rate(tenantry_requests_total{%s}[$__rate_interval]))"
                for name, codes in {"of servers (5xx)": "5..", "of callers (4xx)": "4.."}.items()
            },
            "percentunit",
        ),
        Graph(
            "Passed on, by result",
            {"{{result}}": "sum by (result) (rate(tenantry_forwarded_total{%s}[$__rate_interval]))"},
            "reqps",
        ),
        Graph(
            "Rows of requests for many users",
            {"{{code}}": "sum by (code) (rate(tenantry_batch_rows_total{%s}[$__rate_interval]))"},
            "rowsps",
            stacked=True,
        ),
        Graph(
            "Refused by limits, since the servers started",
            {
                limit.replace("_", " "): f"sum(tenantry_refused_by_{limit}{{%s}})"
                for limit in ("requests_per_second", "concurrency", "rows")
            },
        ),
    ],
    "Tenants": [
        Graph(
            "TenantModels by state",
            {"{{state}}": "sum by (state) (tenantry_operator_tenantmodels{%s})"},
            stacked=True,
        ),
        Graph(
            "Not Ready, by reason",
            {"{{reason}}": "sum by (reason) (tenantry_operator_unready{%s}) > 0"},
            stacked=True,
        ),
        Graph(
            "From a new spec to Ready",
            {
                f"{percent}th percentile": f"histogram_quantile({percent / 100}, sum by (le) "
                "(rate(tenantry_operator_ready_seconds_bucket{%s}[$__rate_interval])))"
                for percent in (50, 99)
            },
            "s",
        ),
        Graph(
            "Work of the operator",
            {
                "decisions": "sum(rate(tenantry_operator_decisions_total{%s}[$__rate_interval]))",
                "full listings": "sum(rate(tenantry_operator_full_listings_total{%s}[$__rate_interval]))",
                "statuses {{result}}": "sum by (result) "
                "(rate(tenantry_operator_status_writes_total{%s}[$__rate_interval]))",
            },
            "ops",
        ),
        Graph(
            "Work that waits",
            {
                "decisions": "sum(tenantry_operator_undecided{%s})",
                "statuses": "sum(tenantry_operator_status_queue{%s})",
            },
        ),
        Graph(
            "Needs a person",
            {
                "degraded": "sum(tenantry_operator_degraded{%s})",
                "vanished, not removed": "sum(tenantry_operator_not_removed{%s})",
                "models that ended workers": "sum(tenantry_struck_models{%s})",
            },
        ),
    ],
    "Memory": [
        Graph(
            "Model cache, share in use",
            {"{{instance}}": "tenantry_cache_bytes{%s} / tenantry_cache_capacity_bytes{%s}"},
            "percentunit",
        ),
        Graph(
            "Models in memory",
            {
                "own": "sum(tenantry_cache_models{%s})",
                "near copies": "sum(tenantry_near_models{%s})",
            },
        ),
        Graph(
            "What the model cache did",
            {
                what.replace("_", " "): f"sum(rate(tenantry_cache_{what}_total{{%s}}[$__rate_interval]))"
                for what in ("hits", "misses", "cold_loads", "load_failures", "evictions")
            },
            "ops",
        ),
        Graph(
            "Bytes",
            {
                "servers": "sum(process_resident_memory_bytes{%s}" + _OURS + ")",
                "workers": "sum(tenantry_worker_resident_bytes{%s})",
                "models": "sum(tenantry_cache_bytes{%s})",
                "near copies": "sum(tenantry_near_bytes{%s})",
                "unfinished bodies": "sum(tenantry_arriving_bytes{%s})",
            },
            "bytes",
        ),
        Graph("Memory left", {"{{instance}}": "tenantry_memory_available_bytes{%s}"}, "bytes"),
        Graph(
            "Disk cache",
            {
                what: f"sum(rate(tenantry_disk_{what}_total{{%s}}[$__rate_interval]))"
                for what in ("hits", "misses", "damaged", "evictions", "failures")
            },
            "ops",
        ),
        Graph(
            "Disk cache, share in use",
            {"{{instance}}": "tenantry_disk_bytes{%s} / tenantry_disk_capacity_bytes{%s}"},
            "percentunit",
        ),
    ],
    "Servers": [
        Graph("Busy share of a core", {"{{instance}}": "tenantry_busy_ratio{%s}"}, "percentunit"),
        Graph(
            "CPU of the serving process",
            {"{{instance}}": "rate(process_cpu_seconds_total{%s}[$__rate_interval])" + _OURS},
            "percentunit",
        ),
        Graph(
            "Workers",
            {
                "workers": "sum(tenantry_workers{%s})",
                "calls that wait": "sum(tenantry_worker_queue{%s})",
                "hung loads": "sum(tenantry_hung_loads{%s})",
                "hung predictions": "sum(tenantry_hung_predictions{%s})",
            },
        ),
        Graph(
            "Workers that ended, by cause",
            {"{{cause}}": "sum by (cause) (increase(tenantry_workers_ended_total{%s}[$__rate_interval]))"},
        ),
        Graph("Shards", {"{{server}}": "max by (server) (tenantry_operator_shards{%s})"}),
        Graph(
            "Bytes of the models on them",
            {"{{server}}": "max by (server) (tenantry_operator_assigned_bytes{%s})"},
            "bytes",
        ),
        Graph(
            "Shards on the move",
            {
                "moving": "sum(tenantry_operator_shards_moving{%s})",
                "moved": "sum(increase(tenantry_operator_shard_moves_total{%s}[$__rate_interval]))",
                "rebalance pending": "max(tenantry_operator_rebalance_pending{%s})",
                "users on several servers": "sum(tenantry_operator_spread_users{%s})",
            },
        ),
        Graph(
            "Peers",
            {"live": "max(tenantry_peers{%s})", "down": "sum(tenantry_peers_down{%s})"},
        ),
        Graph(
            "Until the certificate ends",
            {"{{instance}}": "tenantry_certificate_expires_seconds{%s} - time()"},
            "s",
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "tenantry-fleet",
        "title": "Tenantry",
        "tags": ["tenantry"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    query = "label_values(tenantry_operator_leading, namespace)"
    yield {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "namespaces"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",  # also where nothing has the label
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    number = top = 0
    for row, graphs in ROWS.items():
        number += 1
        yield {"id": number, "type": "row", "title": row, "panels": [], "gridPos": _at(0, top, _COLUMNS, 1)}
        top, left = top + 1, 0
        for graph in graphs:
            width, height = (_STAT_WIDTH, _STAT_HEIGHT) if graph.stat else (_WIDTH, _HEIGHT)
            if left + width > _COLUMNS:
                left, top = 0, top + height
            number += 1
            yield {"id": number, "gridPos": _at(left, top, width, height), **_panel(graph)}
            left += width
        top += height


def _at(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(graph: Graph) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": graph.unit, "min": 0}
    if not graph.stat:
        stacking = {"mode": "normal" if graph.stacked else "none"}
        defaults["custom"] = {"fillOpacity": 30 if graph.stacked else 0, "stacking": stacking}
    options: dict[str, Any] = (
        {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none"}
        if graph.stat
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    )
    return {
        "type": "stat" if graph.stat else "timeseries",
        "title": graph.title,
        "description": graph.words,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": expression.replace("%s", 'namespace=~"$namespace"'),
                "legendFormat": legend or "__auto",
            }
            for index, (legend, expression) in enumerate(graph.queries.items())
        ],
    }


def text() -> str:
    """Return the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text())
    sys.stdout.write(f"{PLACE}\n")

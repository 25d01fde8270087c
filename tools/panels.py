"""What is on the Grafana dashboard of a fleet: rows of panels, each with its expressions.

Refuses how Grafana writes them; see `dashboard`.
"""

from typing import NamedTuple


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
        Graph("Holds of the event loop since the start", {"{{instance}}": "tenantry_loop_holds{%s}"}),
        Graph("Longest hold", {"{{instance}}": "tenantry_loop_longest_hold_seconds{%s}"}, "s"),
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
        Graph("Followers: sidecars with a lease", {"{{instance}}": "tenantry_followers{%s}"}, stacked=True),
        Graph(
            "Ready waits for a follower since",
            {"{{instance}}": "tenantry_followers_behind_seconds{%s}"},
            "s",
            words="More than 3 s never: then its lease is over.",
        ),
        Graph(
            "Until the certificate ends",
            {"{{instance}}": "tenantry_certificate_expires_seconds{%s} - time()"},
            "s",
        ),
    ],
}

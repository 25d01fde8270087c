"""How much a tenant, and a server, is asked for: what servers tell today.

The one place to add to where servers learn to tell more of a tenant: `of_tenant` returns what the page
shows, a title and a value each, whatever the source is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tenantry.registry import Server
from tenantry_operator.ui.pages import words


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure in words.

    Attributes:
        note: what it is of, or how it was measured; may be empty.
    """

    title: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """What a server counted since it started.

    Attributes:
        by_code: requests for predictions by status.
        up_to: bound of each bucket in seconds -> requests that took no longer.
    """

    by_code: dict[str, float]
    up_to: dict[float, float]

    @property
    def requests(self) -> float:
        """All of them."""
        return sum(self.by_code.values())

    @property
    def errors(self) -> float:
        """Those that the fleet is to blame for."""
        return sum(count for code, count in self.by_code.items() if code.startswith("5"))

    def within_s(self, share: float) -> float | None:
        """Return the bound of the bucket that this share of requests stayed below; None: no requests."""
        bounds = sorted(self.up_to)
        total = self.up_to[bounds[-1]] if bounds else 0.0
        if not total:
            return None
        return next(bound for bound in bounds if self.up_to[bound] >= share * total)


def of_tenant(user_id: str, servers: Sequence[Server]) -> list[Figure]:
    """Return what servers tell of one tenant; empty: they tell nothing of it."""
    busy = {
        server.server_id: server.report.busiest[user_id]
        for server in servers
        if server.live and user_id in server.report.busiest
    }
    if not busy:
        return []
    where = ", ".join(f"{share:.1%} on {server_id}" for server_id, share in sorted(busy.items()))
    return [Figure("Processor", f"{sum(busy.values()):.1%} of a core", where)]


def read(metrics: str) -> Served:
    """Read a server's metrics.

    Raises:
        ValueError: they are something else.
    """
    by_code: dict[str, float] = {}
    up_to: dict[float, float] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "tenantry_requests_total":
                by_code[sample.labels.get("code", "")] = sample.value
            elif sample.name == "tenantry_request_seconds_bucket":
                up_to[float(sample.labels["le"])] = sample.value
    return Served(by_code, up_to)


def of_server(served: Served) -> list[Figure]:
    """Return the requests, errors and times of a server."""
    codes = ", ".join(f"{code}: {count:,.0f}" for code, count in sorted(served.by_code.items()))
    figures = [Figure("Requests", f"{served.requests:,.0f}", codes)]
    if served.requests:
        figures.append(Figure("Errors", f"{served.errors / served.requests:.2%}", "with a status of 5xx"))
    for title, share in (("Half of them within", 0.5), ("99 % within", 0.99)):
        bound = served.within_s(share)
        if bound is not None:
            figures.append(Figure(title, _bound(bound, served.up_to)))
    return figures


def _bound(bound: float, bounds: Iterable[float]) -> str:
    if bound != float("inf"):
        return words.seconds(bound)
    return f"more than {words.seconds(max(each for each in bounds if each != bound))}"

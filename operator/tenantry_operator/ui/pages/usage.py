"""How much a tenant, and a server, is asked for: what servers tell.

What an answer of a server holds is read by its types: it may be of another release, or a stranger's.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tenantry.registry import Server
from tenantry_operator.ui.pages import words

_COUNTED = ("requests", "errors", "clientErrors", "serverErrors", "timeouts", "limited")


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


def counted(user_id: str, answers: Sequence[bytes]) -> list[Figure]:
    """Return requests, errors and times of a tenant, added up over servers; empty: none was counted.

    Args:
        answers: to `GET /tenants/top?user_id=…`, of one server each.

    Raises:
        ValueError: one is something else.
    """
    sums = dict.fromkeys(_COUNTED, 0.0)
    up_to: dict[float, float] = {}
    for answer in answers:
        try:
            _add(sums, up_to, user_id, json.loads(answer))
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"unknown answer ({type(error).__name__})") from None
    if not sums["requests"]:
        return []
    kinds = {"clientErrors": "4xx", "serverErrors": "5xx", "timeouts": "timeouts", "limited": "over limits"}
    shown = ", ".join(f"{words}: {sums[name]:,.0f}" for name, words in kinds.items() if sums[name])
    figures = [
        Figure("Requests", f"{sums['requests']:,.0f}", "in the last one to two hours"),
        Figure("Errors", f"{sums['errors'] / sums['requests']:.2%}", shown),
    ]
    times = Served({}, up_to)
    for title, share in (("Half of them within", 0.5), ("99 % within", 0.99)):
        bound = times.within_s(share)
        if bound is not None:
            figures.append(Figure(title, _bound(bound, up_to)))
    return figures


def _add(sums: dict[str, float], up_to: dict[float, float], user_id: str, answer: Any) -> None:
    bounds = [*(float(bound) for bound in answer["latencyBoundsSeconds"]), float("inf")]
    for tenant in answer["tenants"]:
        if tenant["userId"] == user_id:
            for name in _COUNTED:
                sums[name] += float(tenant[name])
            counts = accumulate(float(count) for count in tenant["latency"]["counts"])
            for bound, count in zip(bounds, counts, strict=True):
                up_to[bound] = up_to.get(bound, 0.0) + count


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

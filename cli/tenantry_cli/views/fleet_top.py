"""What several servers say of their tenants, added up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenantry_server.accounts.account import quantile_s

ORDERS = ("requests", "errors", "cpu", "bytes")
_FIELD = {"requests": "requests", "errors": "errors", "cpu": "cpuSeconds", "bytes": "bytes"}
_SUMS = (
    *("requests", "errors", "clientErrors", "serverErrors", "timeouts", "limited"),
    *("cpuSeconds", "bytes"),
)


@dataclass(frozen=True, slots=True)
class Top:
    """The first tenants of a fleet.

    Attributes:
        by: the order.
        since: of the server that has counted for the longest time.
        servers: how many were asked.
        tenants: in the form of `GET /tenants/top`.
        others: the same of tenants that were not counted one by one.
    """

    by: str
    since: str
    servers: int
    tenants: Sequence[Mapping[str, Any]]
    others: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """Return it as `-o json` prints it."""
        return {
            "by": self.by,
            "since": self.since,
            "servers": self.servers,
            "tenants": self.tenants,
            "others": self.others,
        }


def added(answers: Sequence[Mapping[str, Any]], by: str, limit: int) -> Top:
    """Add up what servers have answered; quantiles are estimated from the sums of their counts.

    Example:
        >>> added([], "requests", 10).tenants
        []
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for answer in answers:
        for tenant in answer["tenants"]:
            found.setdefault(tenant["userId"], []).append(tenant)
    tenants = [{"userId": user_id} | _sum(parts) for user_id, parts in found.items()]
    tenants.sort(key=lambda tenant: (-tenant[_FIELD[by]], tenant["userId"]))
    since = min((answer["since"] for answer in answers), default="")
    others = _sum([answer["others"] for answer in answers])
    return Top(by, since, len(answers), [one for one in tenants if one[_FIELD[by]]][:limit], others)


def _sum(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {name: sum(part.get(name, 0) for part in parts) for name in _SUMS}
    columns = zip(*(part["latency"]["counts"] for part in parts), strict=True)
    counts = [sum(column) for column in columns]
    latency = {"p50Seconds": quantile_s(counts, 0.5), "p99Seconds": quantile_s(counts, 0.99)}
    return sums | {"latency": latency | {"counts": counts}}

"""Renewals of this server's lease, which carry its report and what it acknowledges."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from tenantry.registry import Server, ServerRegistry, ServerReport

_T = TypeVar("_T")
_EVERY_S = 1.0
_AT_REST_S = 2.5
_MARGIN_S = 1.0  # the lease ends here before it ends in the database: clocks drift, threads wait


class Quickly(Protocol):
    """Runs a call of the registry in its thread; a long silence is told to others meanwhile."""

    def __call__(self, call: Callable[[], _T], /) -> Awaitable[_T]:
        """Return what the call returns."""


class Renewals:
    """When the lease was renewed and with what; used by the follower alone.

    Args:
        registry: this server's view.
        lease_s: how long the operator waits for a server that is silent.
        report: returns what this server reports.
        in_force: returns the revision to acknowledge, and its token.
        servers_read: called with the servers at most once a second, at rest less often.
        quickly: runs a call of the registry.
    """

    def __init__(
        self,
        registry: ServerRegistry,
        *,
        lease_s: float,
        report: Callable[[], ServerReport],
        in_force: Callable[[], tuple[int, str]],
        servers_read: Callable[[list[Server]], None],
        quickly: Quickly,
    ) -> None:
        self._registry = registry
        self._lease_s = lease_s
        self._report = report
        self._in_force = in_force
        self._servers_read = servers_read
        self._quickly = quickly
        self._renewed_at_s = float("-inf")
        self._servers_due_s = float("-inf")
        self._acked = (-1, -1, False)
        self._used_bytes = 0
        self._every_s = _EVERY_S
        self._at_rest_s = max(_EVERY_S, min(_AT_REST_S, lease_s / 4))

    @property
    def until_s(self) -> float:
        """When the lease ends; counted from before the database was asked, so before the database's own."""
        return self._renewed_at_s + self._lease_s - _MARGIN_S

    @property
    def is_news(self) -> bool:
        """Whether there is something that the operator waits for, and that renews the lease at once."""
        return self._ack(self._report()) != self._acked

    def due_in_s(self, now_s: float) -> float:
        """Return in how many seconds the lease is to be renewed; negative: it is late."""
        return self._renewed_at_s + self._every_s - now_s

    def is_due(self, now_s: float) -> bool:
        """Return whether the last renewal is a second old, or at rest two and a half."""
        return self.due_in_s(now_s) <= 0

    async def renew(self, began_s: float) -> None:
        """Renew the lease, and read the servers at most once a second.

        Args:
            began_s: from when on the lease is counted.
        """
        report = self._report()
        revision, its_token = self._in_force()
        ack = self._ack(report)
        token = its_token if revision >= 0 else None  # nothing is acknowledged yet
        await self._quickly(
            lambda: self._registry.renew(
                lease_s=self._lease_s, acked_revision=revision, report=report, token=token
            )
        )
        rests = ack == self._acked and report.used_bytes == self._used_bytes and report.is_idle
        self._every_s = self._at_rest_s if rests else _EVERY_S
        self._acked, self._used_bytes = ack, report.used_bytes
        self._renewed_at_s = began_s
        if began_s >= self._servers_due_s:
            self._servers_read(await self._quickly(self._registry.servers))
            self._servers_due_s = began_s + _EVERY_S

    def _ack(self, report: ServerReport) -> tuple[int, int, bool]:
        return self._in_force()[0], report.prepared_revision, report.leaving

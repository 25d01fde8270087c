"""Judges the leases of servers by when this process saw them renewed, never by the database's wall clock.

A wall clock may jump: by a minute forwards, and every server looks dead; by an hour back, and a dead one
looks alive for an hour. A renewal changes the server's row, and this process has a clock that never jumps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tenantry.processes.runtime import boot_clock_s
from tenantry.registry.rows import Server

_LEASE_S = 10.0  # of a server that does not say: the default of its setting


@dataclass(slots=True)
class _Seen:
    server: Server
    at_s: float
    missed: bool = False  # its row went with lost commits, not because it left

    def left_s(self, now_s: float) -> float:
        lease_s = self.server.lease_s
        return self.at_s + (_LEASE_S if lease_s is None else lease_s) - now_s


class LeaseObserver:
    """Remembers when each server was seen to renew its lease.

    A process that has just started has seen nothing: it takes each server for alive until a lease's length
    has passed without a renewal.

    Args:
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Example:
        >>> from tenantry.registry import Server, ServerReport
        >>> now_s = 100.0
        >>> leases = LeaseObserver(clock_s=lambda: now_s)
        >>> stored = [Server("a", "http://a", 7, -3600.0, 0, ServerReport(), renewal=1.0, lease_s=10.0)]
        >>> [server.live for server in leases.judged(stored)]
        [True]
        >>> now_s = 111.0
        >>> [server.live for server in leases.judged(stored)]
        [False]
    """

    def __init__(self, *, clock_s: Callable[[], float] = boot_clock_s) -> None:
        self._clock_s = clock_s
        self._seen: dict[str, _Seen] = {}
        self._looked_at_s = float("-inf")
        self._sight_lost = False

    def lost_sight(self) -> None:
        """The registry did not answer: meanwhile nobody could renew a lease either.

        Who held one before has as long as that to renew it, once the registry answers again. Until then
        such a server may believe that the registry is still silent, and answer what it last knew.
        """
        self._sight_lost = True

    def judged(self, servers: Sequence[Server]) -> list[Server]:
        """Return the same servers with what is left of their leases by this process's clock.

        Args:
            servers: all of them, read just now: whatever they have renewed was renewed before.
        """
        now_s = self._clock_s()
        stored = {server.server_id for server in servers}
        self._seen = {
            server_id: seen
            for server_id, seen in self._seen.items()
            if server_id in stored or (seen.missed and seen.left_s(now_s) > 0)
        }
        for server in servers:
            known = self._seen.get(server.server_id)
            if known is None or known.server.renewal != server.renewal:
                self._seen[server.server_id] = _Seen(server, now_s)
            else:
                known.server = server
                if self._sight_lost and known.left_s(self._looked_at_s) > 0:
                    known.at_s = now_s
        self._looked_at_s, self._sight_lost = now_s, False
        return [
            replace(seen.server, lease_left_s=seen.left_s(now_s)) for _, seen in sorted(self._seen.items())
        ]

    def history_changed(self) -> None:
        """Wait for every server that lives, although its row may be gone.

        What it acknowledged was of another history, so it counts as nothing.
        """
        now_s = self._clock_s()
        for seen in self._seen.values():
            seen.missed = seen.left_s(now_s) > 0
            seen.server = replace(seen.server, acked_revision=-1)

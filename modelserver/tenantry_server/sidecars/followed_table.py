"""The routing table of a sidecar: trusted while the lease holds, and as small as it can be.

Owns the form in which a sidecar keeps rows. An application has as many sidecars as pods, and each has a row
for every tenant of the fleet, of which it needs little: which model answers, on how many servers, and the
user's limits. Measured: 0.27 kB a tenant, and 0.63 as `Assignment`.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tenantry.errors import FleetUnreachable
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry.rows import Assignment, Changes
from tenantry_server.assignments.routing_table import OnRegistryLoss, RoutingTable


class _Nobody:
    """In the place of the registry, which no sidecar asks."""

    def lookup(self, user_id: str) -> Assignment | None:
        raise FleetUnreachable(f"nobody knows {user_id!r}")


class _Rare(NamedTuple):
    """What few rows have."""

    replicas: int
    limits: str


class CompactRows(MutableMapping[str, Assignment]):
    """Rows by user id, without what only servers need: claims, candidates, revisions and sizes.

    Attributes:
        models: user id -> the model that answers; None: no version has loaded yet.

    Example:
        >>> rows = CompactRows()
        >>> rows["ann"] = Assignment("ann", "uid-1", 3, "m1", "m2", revision=7, replicas=2)
        >>> rows["ann"] == Assignment("ann", "", 0, "m1", replicas=2)
        True
    """

    def __init__(self) -> None:
        self.models: dict[str, str | None] = {}
        self._rare: dict[str, _Rare] = {}

    def __getitem__(self, user_id: str) -> Assignment:
        model_id = self.models[user_id]
        replicas, limits = self._rare.get(user_id, (1, ""))
        return Assignment(user_id, "", 0, model_id, replicas=replicas, limits=limits)

    def __setitem__(self, user_id: str, row: Assignment) -> None:
        self.models[user_id] = row.model_id
        if row.replicas != 1 or row.limits:
            self._rare[user_id] = _Rare(row.replicas, sys.intern(row.limits))
        else:
            self._rare.pop(user_id, None)

    def __delitem__(self, user_id: str) -> None:
        del self.models[user_id]
        self._rare.pop(user_id, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)

    def replicas_of(self, user_id: str) -> int:
        """Return on how many servers the user's model is declared to be."""
        rare = self._rare.get(user_id)
        return 1 if rare is None else rare.replicas

    @property
    def rare(self) -> Mapping[str, _Rare]:
        """The users whose rows say more than a model."""
        return self._rare


class Reading:
    """A reading of everything, as its pieces come in; in the form in which a table keeps it.

    Args:
        first: the first piece.

    Raises:
        ValueError: it is not the first piece of a reading.

    Attributes:
        head: what it says beside its rows.
        rows: those that came so far.
    """

    def __init__(self, first: Changes) -> None:
        if not first.complete:
            raise ValueError("not the first piece of a reading")
        self.head = replace(first, assignments=[])
        self.rows = CompactRows()
        self._keep(first)

    def add(self, piece: Changes) -> None:
        """Take the next piece.

        Raises:
            ValueError: it is of another reading.
        """
        if piece.complete or piece.revision != self.head.revision:
            raise ValueError("not a piece of this reading")
        self._keep(piece)

    def _keep(self, piece: Changes) -> None:
        self.rows.update((row.user_id, row) for row in piece.assignments if not row.deleted)


class FollowedTable(RoutingTable):
    """A routing table that is trusted while the lease holds, and at no other time.

    Args:
        problem: returns why no server is followed; empty: one is.
        clock_s: seconds, never going back; a parameter so that tests can move it.
    """

    def __init__(
        self, problem: Callable[[], str] = lambda: "", *, clock_s: Callable[[], float] = boot_clock_s
    ) -> None:
        self._rows = CompactRows()
        super().__init__(_Nobody(), on_loss=OnRegistryLoss.REFUSE, clock_s=clock_s, rows=self._rows)
        self.problem = problem

    def replace(self, reading: Reading) -> set[str]:
        """Put a reading in force in the place of everything: from here on no request sees anything older.

        Returns:
            the model ids that no longer answer for any user.
        """
        gone = {model_id for model_id in self._rows.models.values() if model_id}
        self._assignments = self._rows = reading.rows
        if gone:
            gone.difference_update(self._model_ids())
        self.limits.clear()
        for user_id, rare in reading.rows.rare.items():
            self._limit(user_id, rare.limits)
        self._forget_placement()
        self._place(reading.head, reading.rows.rare)
        return gone

    def get_model_id_by_user_id(self, user_id: str) -> str:
        """Refuse: the lease is over, and the servers were asked before."""
        raise FleetUnreachable(self.problem() or f"the lease is over; user {user_id!r}")

    def peek(self, user_id: str) -> str | None:
        """As in `RoutingTable`, without making a row."""
        model_id = self._rows.models.get(user_id)
        if model_id is None or not self.contact.lease_held:
            return super().peek(user_id)  # which says why there is none
        return model_id

    def peek_many(self, user_ids: Sequence[str]) -> Sequence[str | None] | None:
        """As `peek`."""
        if not self.contact.lease_held:
            return None
        return list(map(self._rows.models.get, user_ids))

    def assigned(self) -> Mapping[str, str | None]:
        """As in `RoutingTable`, in one step."""
        return self._rows.models.copy()

    def _model_ids(self) -> Collection[str | None]:
        return self._rows.models.values()

    def _declared_replicas(self, user_id: str) -> int:
        return self._rows.replicas_of(user_id)

"""Which model answers for which user: the registry in memory, while this server may trust it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NoReturn, Protocol

import structlog

from tenantry import ModelId
from tenantry.errors import ModelNotAssigned, ModelNotReady, RegistryUnavailable
from tenantry.placement import shard_of
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry.rows import Assignment, Changes, Holding
from tenantry_server.assignments.compact_rows import CompactRows, Reading
from tenantry_server.assignments.contact import RegistryContact
from tenantry_server.assignments.declared_limits import DeclaredLimits
from tenantry_server.assignments.model_info import ModelInfoRepository

log = structlog.get_logger(__name__)


class OnRegistryLoss(StrEnum):
    """What to answer while the registry is out of reach and the lease is over."""

    SERVE = "serve"  # the last known model, with a header that says how old this knowledge is
    REFUSE = "refuse"  # 503


class Lookups(Protocol):
    """What is asked once the lease is over, such as a `ServerRegistry`."""

    def lookup(self, user_id: str) -> Assignment | None:
        """Return the user's row as it is now; None: there is none.

        Raises:
            RegistryUnavailable: nobody answers.
        """


class RoutingTable(ModelInfoRepository):
    """The registry's assignments and shard map, as last read by `RegistryFollower`.

    While the lease holds, answers come from memory. Once it is over, the operator may have said Ready for a
    newer model, so every request asks SQL until the follower has caught up.

    Args:
        registry: asked once the lease is over.
        on_loss: what to do where the registry does not answer either.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Attributes:
        contact: whether this table may be trusted now.
        revision: of the newest change in the table; -1 where everything has to be read.
        token: of that revision in the registry's history.
        map_revision: of the newest change of the shard map; 0 before the first map.
        limits: of those users who have any.
        was_read: whether the registry was read since this process started.
        replicated: the users whose model is to be on more servers than one.
    """

    def __init__(
        self,
        registry: Lookups,
        *,
        on_loss: OnRegistryLoss = OnRegistryLoss.SERVE,
        clock_s: Callable[[], float] = boot_clock_s,
    ) -> None:
        self._registry = registry
        self._on_loss = on_loss
        self.contact = RegistryContact(clock_s=clock_s)
        self._rows = CompactRows()
        self._models = self._rows.models  # what requests ask for
        self._holdings: dict[int, Holding] = {}
        self._spread: dict[str, int] = {}
        self.replicated: set[str] = set()
        self.limits = DeclaredLimits()
        self.was_read = False
        self.revision = -1
        self.token = ""
        self.map_revision = 0

    def history_changed(self) -> None:
        """Stop trusting the table until everything was read again; where SQL is silent, it stays in use."""
        self.contact.history_changed()
        self.revision, self.token = -1, ""

    def apply(self, changes: Changes) -> tuple[list[Assignment], set[str]]:
        """Apply changes: from here on no request sees anything older.

        Returns:
            the assignments whose candidates this server should check (the changed ones, and those of
            shards that moved; of a complete reading those that wait for something), and the model ids
            that no longer answer for any user.
        """
        if changes.complete:
            reading = Reading(changes)
            return reading.waiting, self.replace(reading)
        gone = self.put(changes)
        touched = list(changes.assignments)
        if changes.shards:
            touched += [
                self._rows[user_id]
                for user_id, rare in self._rows.rare.items()
                if rare.candidate_id is not None and shard_of(user_id) in changes.shards
            ]
        return touched, gone

    def put(self, changes: Changes) -> set[str]:
        """Apply changes, for a process that loads no candidates; return the model ids, as `apply`."""
        if changes.complete:
            return self.replace(Reading(changes))
        before = {self._models.get(assignment.user_id) for assignment in changes.assignments}
        for assignment in changes.assignments:
            self._put(assignment)
        self._place(changes, [a.user_id for a in changes.assignments])
        # Several users may share one model.
        return {model_id for model_id in before if model_id and not self._rows.answers(model_id)}

    def replace(self, reading: Reading) -> set[str]:
        """Put a reading in force in the place of everything: from here on no request sees anything older.

        Returns:
            the model ids that no longer answer for any user.
        """
        gone = self._rows.answered_no_more(reading.rows)
        self._rows, self._models = reading.rows, reading.rows.models
        self.limits.clear()
        for user_id, rare in self._rows.rare.items():
            self.limits.declare(user_id, rare.limits)
        self._holdings, self._spread, self.replicated = {}, {}, set()
        self._place(reading.head, self._rows.rare)
        return gone

    def _place(self, changes: Changes, users: Iterable[str]) -> None:
        """Apply what changes say of places, whose rows are in the table now; `users` may have replicas."""
        self._holdings |= changes.shards
        if changes.shards:
            self.map_revision = max(holding.revision for holding in self._holdings.values())
        self._spread |= changes.spread
        for user_id in (*users, *changes.spread):
            if self.replicas_of(user_id) > 1:
                self.replicated.add(user_id)
            else:
                self.replicated.discard(user_id)
        self.revision, self.token = changes.revision, changes.token
        self.was_read = True

    def _put(self, assignment: Assignment) -> None:
        user_id = assignment.user_id
        if assignment.deleted:
            self._rows.pop(user_id, None)
        else:
            self._rows[user_id] = assignment
        self.limits.declare(user_id, "" if assignment.deleted else assignment.limits)

    def everything(self) -> Reading:
        """Return a copy of the whole table, for followers of this server."""
        head = Changes(self.revision, True, [], dict(self._holdings), dict(self._spread), self.token)
        reading = Reading(head)
        reading.rows = self._rows.copy()
        return reading

    @property
    def lease_held(self) -> bool:
        """Whether memory may be trusted now."""
        return self.contact.lease_held

    @property
    def holdings(self) -> Mapping[int, Holding]:
        """Which server holds each shard, as last read."""
        return self._holdings

    def owner_of(self, user_id: str) -> str | None:
        """Return the server that this user's shard belongs to; None before the first map."""
        holding = self._holdings.get(shard_of(user_id))
        return None if holding is None else holding.server_id

    def replicas_of(self, user_id: str) -> int:
        """Return on how many servers the user's model is to be: declared or measured, the larger."""
        return max(self._rows.replicas_of(user_id), self._spread.get(user_id, 1))

    def get(self, user_id: str) -> Assignment | None:
        """Return the user's row, as last read; what `CompactRows` keeps of it."""
        return self._rows.get(user_id)

    def model_of(self, user_id: str) -> str | None:
        """Return the model that answers for a user, as last read; None: there is none."""
        return self._models.get(user_id)

    def __len__(self) -> int:
        return len(self._models)

    def peek(self, user_id: str) -> str | None:
        """Return the model id from memory while the lease holds; None: ask SQL."""
        if not self.contact.lease_held:
            return None
        return self._models.get(user_id) or self._absent(user_id)

    def _absent(self, user_id: str) -> NoReturn:
        if user_id in self._models:
            raise ModelNotReady(user_id)
        raise ModelNotAssigned(user_id)

    def peek_many(self, user_ids: Sequence[str]) -> Sequence[str | None] | None:
        """Return the model ids of users from memory while the lease holds, which is asked once."""
        if not self.contact.lease_held:
            return None
        return list(map(self._models.get, user_ids))

    def get_model_id_by_user_id(self, user_id: str) -> str:
        """Return what SQL says now; where SQL does not answer, what `on_loss` says."""
        try:
            assignment = _looked_up(self._registry, self.contact, user_id)
        except RegistryUnavailable:
            self.contact.looked_up(answered=False)
            if self._on_loss is OnRegistryLoss.REFUSE or not self.was_read:
                raise
            return self._models.get(user_id) or self._absent(user_id)
        self.contact.looked_up(answered=True)
        return _answer(user_id, assignment)

    def size_of(self, exact: ModelId) -> int | None:
        """Return what a large model took in memory where its bytes were loaded; None: unknown, or small."""
        return self._rows.size_of_large(exact.sha256 or str(exact))

    def assigned(self) -> Mapping[str, str | None]:
        """Return every user with the model that answers, as last read: a copy, made in one step."""
        return self._models.copy()


def _looked_up(registry: Lookups, contact: RegistryContact, user_id: str) -> Assignment | None:
    if not contact.registry_answers:  # asking takes seconds then, and all requests share a thread
        raise RegistryUnavailable(
            "the registry does not answer, and this server's lease is over; retry: this server asks "
            "the registry again several times a second"
        )
    try:
        return registry.lookup(user_id)
    except RegistryUnavailable:
        if not contact.registry_answers:
            raise
        # A connection may break because this server was stopped in the middle: a second one tells.
        return registry.lookup(user_id)


def _answer(user_id: str, assignment: Assignment | None) -> str:
    if assignment is None:
        raise ModelNotAssigned(user_id)
    if assignment.model_id is None:
        raise ModelNotReady(user_id)
    return assignment.model_id

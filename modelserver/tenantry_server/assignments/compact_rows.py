"""The rows of a routing table, as small as they can be, and a reading of all of them.

Owns the form in which a process keeps rows. A fleet may have a million tenants, and every server and every
sidecar has a row for each: which model answers, which nearly every request asks for, in a dict of strings;
all else only where a row has it. Measured, with ids of 117 characters: 0.36 KiB a tenant, and 0.55 as
`Assignment`.
"""

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from tenantry.registry.rows import Assignment, Changes

_V = TypeVar("_V")

SMALL_BYTES = 4096
"""Of a model in memory: below it a row keeps no size. Sizes decide what fits before it is loaded."""
_LARGE_BYTES = 16 << 20  # from here on, the size is known by model, too


class Rare(NamedTuple):
    """What few rows have."""

    candidate_id: str | None
    revision: int  # of the row, by which its candidate is known; 0 where there is no candidate
    prewarm: bool
    replicas: int
    limits: str


_PLAIN = Rare(None, 0, prewarm=False, replicas=1, limits="")


class CompactRows(MutableMapping[str, Assignment]):
    """Rows by user id, without claims, generations, and the revisions of rows that wait for nothing.

    Args:
        sizes: whether rows keep the size of a model that is not small.

    Attributes:
        models: user id -> the model that answers; None: no version has loaded yet. To be read only.

    Example:
        >>> rows = CompactRows()
        >>> rows["ann"] = Assignment("ann", "uid-1", 3, "m1", revision=7, size_bytes=500, replicas=2)
        >>> rows["ann"] == Assignment("ann", "", 0, "m1", replicas=2)
        True
    """

    def __init__(self, *, sizes: bool = True) -> None:
        self.models: dict[str, str | None] = {}
        self._users: dict[str, int] = {}  # model id -> how many users it answers for
        self._sizes: dict[str, int] | None = {} if sizes else None
        self._large: dict[str, int] = {}  # model id -> bytes
        self._rare: dict[str, Rare] = {}

    def __getitem__(self, user_id: str) -> Assignment:
        model_id = self.models[user_id]
        rare = self._rare.get(user_id, _PLAIN)
        return Assignment(
            user_id,
            "",
            0,
            model_id,
            rare.candidate_id,
            rare.revision,
            size_bytes=self._sizes.get(user_id) if self._sizes else None,
            prewarm=rare.prewarm,
            replicas=rare.replicas,
            limits=rare.limits,
        )

    def __setitem__(self, user_id: str, row: Assignment) -> None:
        before, model_id = self.models.get(user_id), row.model_id
        if before != model_id:
            self._leave(before)
            if model_id is not None:
                self._users[model_id] = self._users.get(model_id, 0) + 1
            self.models[user_id] = model_id
        elif model_id is None:
            self.models[user_id] = None
        if self._sizes is not None:
            size_bytes = row.size_bytes or 0
            _keep(self._sizes, user_id, size_bytes if size_bytes >= SMALL_BYTES else None)
            if size_bytes >= _LARGE_BYTES and model_id is not None:
                self._large[model_id] = size_bytes
        _keep(self._rare, user_id, _rare(row))

    def __delitem__(self, user_id: str) -> None:
        self._leave(self.models.pop(user_id))
        self._rare.pop(user_id, None)
        if self._sizes:
            self._sizes.pop(user_id, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)

    def copy(self) -> "CompactRows":
        """Return the same rows as they are now, made of copies of dicts, which are quick."""
        copied = CompactRows()
        copied.models, copied._users = self.models.copy(), self._users.copy()
        copied._sizes = None if self._sizes is None else self._sizes.copy()
        copied._large, copied._rare = self._large.copy(), self._rare.copy()
        return copied

    def _leave(self, model_id: str | None) -> None:
        if model_id is None:
            return
        left = self._users[model_id] - 1
        if left:
            self._users[model_id] = left
        else:
            del self._users[model_id]
            self._large.pop(model_id, None)

    def answers(self, model_id: str) -> bool:
        """Return whether a model answers for any user."""
        return model_id in self._users

    def answered_no_more(self, newer: "CompactRows") -> set[str]:
        """Return the models that answer here, and for nobody in newer rows."""
        return {model_id for model_id in self._users if not newer.answers(model_id)}

    def size_of_large(self, part: str) -> int | None:
        """Return the size of a large model whose id has this part; None: none has. Called in any thread."""
        return next((size for model_id, size in list(self._large.items()) if part in model_id), None)

    def replicas_of(self, user_id: str) -> int:
        """Return on how many servers the user's model is declared to be."""
        return self._rare.get(user_id, _PLAIN).replicas

    @property
    def rare(self) -> Mapping[str, Rare]:
        """The users whose rows say more than a model and its size."""
        return self._rare


def _rare(row: Assignment) -> Rare | None:
    if row.candidate_id is None and not row.prewarm and row.replicas == 1 and not row.limits:
        return None
    revision = 0 if row.candidate_id is None else row.revision
    limits = sys.intern(row.limits)  # thousands of users have the same
    return Rare(row.candidate_id, revision, row.prewarm, row.replicas, limits)


def _keep(kept: dict[str, _V], user_id: str, value: _V | None) -> None:
    if value is None:
        kept.pop(user_id, None)
    else:
        kept[user_id] = value


class Reading:
    """A reading of everything, as its pieces come in; in the form in which a table keeps it.

    Args:
        first: the first piece.
        sizes: as of `CompactRows`.

    Raises:
        ValueError: it is not the first piece of a reading.

    Attributes:
        head: what it says beside its rows.
        rows: those that came so far.
    """

    def __init__(self, first: Changes, *, sizes: bool = True) -> None:
        if not first.complete:
            raise ValueError("not the first piece of a reading")
        self.head = replace(first, assignments=[])
        self.rows = CompactRows(sizes=sizes)
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
        for row in piece.assignments:
            if not row.deleted:
                self.rows[row.user_id] = row

    @property
    def waiting(self) -> list[Assignment]:
        """The rows that ask a server for something: a candidate, a model in memory, or replicas."""
        return [
            self.rows[user_id]
            for user_id, rare in self.rows.rare.items()
            if rare.candidate_id is not None or rare.prewarm or rare.replicas > 1
        ]

"""Which users of a batch have a kernel in memory, and which of them are beyond a limit.

A thousand users have one turn of the event loop. Knows no rows' values, and loads nothing.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from tenantry import TenantryError
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting.together import Answers
from tenantry_server.quotas.quotas import Quotas

USERS_AT_ONCE = 1024
"""Users whose models are found in one turn of the event loop: at 1 us each, a millisecond."""

_USERS_FIRST = 64  # one that nobody knows takes thirty times as long

Users: TypeAlias = Mapping[str, Sequence[int]]
"""The rows of each user."""


@dataclass(slots=True)
class Found:
    """Users whose model is a kernel in memory, that model, and their rows; equally long."""

    users: list[str] = field(default_factory=list)
    residents: list[Resident] = field(default_factory=list)
    rows: list[Sequence[int]] = field(default_factory=list)

    def add(self, user_id: str, resident: Resident, rows: Sequence[int]) -> None:
        """Add one of them."""
        self.users.append(user_id)
        self.residents.append(resident)
        self.rows.append(rows)


class Sorting:
    """Sorts the users of batches; used on the event loop.

    Args:
        users: from users to models.
        cache: of the models; None: no kernel is in memory.
        quotas: the limits of users.
    """

    def __init__(
        self, users: ModelInfoRepository, cache: CachedModelRepository | None, quotas: Quotas
    ) -> None:
        self._users = users
        self._models = cache
        self._quotas = quotas

    async def sort(
        self, users: Users, answers: Answers, *, counts_for_all: bool
    ) -> tuple[Found, list[str]]:
        """Return the users whose model is a kernel in memory, and the others.

        Who has no model is refused, and so is who is beyond a limit.

        Args:
            counts_for_all: whether this server counts also for users whose model others hold.
        """
        found = Found()
        others: list[str] = []
        following, at_once = iter(users), _USERS_FIRST
        while names := list(islice(following, at_once)):
            residents, refused = self._kernels_of(names)
            refused |= self._limited(names, residents, users, counts_for_all=counts_for_all)
            for user_id, error in refused.items():
                answers.refuse(users[user_id], error)
            if refused or not all(residents):
                for user_id, resident in zip(names, residents, strict=True):
                    if user_id in refused:
                        continue
                    if resident is None:
                        others.append(user_id)
                    else:
                        found.add(user_id, resident, users[user_id])
            else:
                found.users += names
                found.residents += residents  # type: ignore[arg-type]  # none of them is None
                found.rows += map(users.__getitem__, names)
            at_once = _USERS_FIRST if refused else min(2 * at_once, USERS_AT_ONCE)
            await asyncio.sleep(0)
        return found, others

    def _kernels_of(self, names: Sequence[str]) -> "tuple[list[Resident | None], dict[str, TenantryError]]":
        """Return the kernel in memory of each user, None for others; and why users have no model."""
        refused: dict[str, TenantryError] = {}
        if self._models is None:
            return [None] * len(names), refused
        known = self._users.peek_many(names)
        if known is None or not all(known):
            known = [
                self._peek(user_id, refused) if model_id is None else model_id
                for user_id, model_id in zip(names, known or [None] * len(names), strict=True)
            ]
            # No model has the empty name, which stands for one that is not known here.
            known = [model_id or "" for model_id in known]
        found = self._models.peek_many(known)  # type: ignore[arg-type]  # none of them is None
        return [each if each is not None and each.compiled else None for each in found], refused

    def _peek(self, user_id: str, refused: dict[str, TenantryError]) -> str | None:
        try:
            return self._users.peek(user_id)
        except TenantryError as error:
            refused[user_id] = error
            return None

    def _limited(
        self,
        names: Sequence[str],
        residents: "list[Resident | None]",
        users: Users,
        *,
        counts_for_all: bool,
    ) -> dict[str, TenantryError]:
        """Count the rows of those who have limits and a kernel here; return who is beyond one.

        Whose requests others count gets None in the place of the kernel.
        """
        quotas = self._quotas
        refused: dict[str, TenantryError] = {}
        limited = quotas.limited(names)
        if not limited:
            return refused
        places = {user_id: place for place, user_id in enumerate(names)}
        for user_id in limited:
            place = places[user_id]
            if residents[place] is None:
                continue
            if not counts_for_all and quotas.is_elsewhere(user_id):
                residents[place] = None
                continue
            try:
                quotas.take(user_id, rows=len(users[user_id]))
            except TenantryError as error:
                refused[user_id] = error
        return refused


def turns(users: Iterable[str]) -> Iterator[str | None]:
    """Yield users, and None where others are to have their turn."""
    for place, user_id in enumerate(users):
        if place and place % USERS_AT_ONCE == 0:
            yield None
        yield user_id

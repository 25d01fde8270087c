"""What each TenantModel waits for between two decisions: a load, acknowledgements, or a moment."""

from collections.abc import Collection, Mapping

from tenantry_operator.control.reconciler.decision import Outcome, Waiting
from tenantry_operator.control.retry_schedule import Schedule


class Waits:
    """Which TenantModels have to be decided about again, and why.

    Args:
        first_s: wait before a missing artifact is looked up again.
        last_s: the longest such wait.
    """

    def __init__(self, first_s: float, last_s: float) -> None:
        self._loading: set[str] = set()  # wait for a report on a candidate
        self._acking: dict[str, int] = {}  # wait until every live server has this revision
        self._again = Schedule(first_s, last_s)

    def for_load(self, uids: Collection[str]) -> set[str]:
        """Return those of these uids that wait for a report."""
        return self._loading.intersection(uids)

    def for_servers(self) -> set[str]:
        """Return all uids that wait for servers."""
        return self._loading | self._acking.keys()

    def acknowledged(self, revision: int) -> set[str]:
        """Return the uids whose wait is over, as every server has put this revision in force."""
        return {uid for uid, awaited in self._acking.items() if revision >= awaited}

    @property
    def next_due_s(self) -> float:
        """Before when no artifact has to be looked up; infinite where none is planned."""
        return self._again.next_due_s

    def due(self, now_s: float) -> set[str]:
        """Remove and return the uids whose artifact has to be looked up now."""
        return self._again.due(now_s)

    def begin(
        self,
        uid: str,
        outcome: Outcome,
        revisions: Mapping[str, int],
        *,
        refresh_s: float | None,
        now_s: float,
    ) -> None:
        """Wait for what this decision depends on, and for nothing that an earlier one did.

        Args:
            revisions: user id -> revision, of the rows that were written with it.
            refresh_s: between lookups of an artifact that is overwritten in place; None: never.
        """
        if outcome.waiting is Waiting.LOAD:
            self._loading.add(uid)
        else:
            self._loading.discard(uid)
        if outcome.waiting is Waiting.ACKS:
            written = outcome.assignment
            self._acking[uid] = outcome.acks if written is None else revisions[written.user_id]
        else:
            self._acking.pop(uid, None)
        if outcome.waiting is Waiting.RETRY:
            self._again.retry(uid, now_s)
        elif refresh_s is None:
            self._again.forget(uid)
        elif uid not in self._again:  # other decisions in between don't delay a lookup
            self._again.after(uid, now_s, refresh_s)

    def retry_soon(self, uid: str) -> None:
        """Drop what was planned for its former declaration."""
        self._again.forget(uid)

    def forget(self, uids: Collection[str]) -> None:
        """These are gone."""
        self._loading.difference_update(uids)
        for uid in uids:
            self._acking.pop(uid, None)
            self._again.forget(uid)

"""How far many TenantModels are: one verdict of all, from one listing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tenantry.manifest.readiness import Progress, Verdict, judge
from tenantry_airflow.awaited import Awaited, Key

_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """What was seen in one listing.

    Attributes:
        total: how many are waited for.
        waiting: those that are neither Ready nor Stalled, each with its verdict.
        stalled: those that stay as they are until a person acts.
    """

    total: int
    waiting: list[tuple[Awaited, Verdict]] = field(default_factory=list)
    stalled: list[tuple[Awaited, Verdict]] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether all of them are Ready at the version that is waited for."""
        return not self.waiting and not self.stalled

    @property
    def text(self) -> str:
        """For people: who is Stalled, else who waits, and why."""
        kind, which = ("Stalled", self.stalled) if self.stalled else ("not Ready yet", self.waiting)
        return f"{len(which)} of {self.total} TenantModels are {kind}{_lines(which)}"


def stand(awaited: Iterable[Awaited], seen: Mapping[Key, Mapping[str, Any]]) -> Standing:
    """Judge each of `awaited` by what was listed.

    Args:
        seen: TenantModels as an API server returns them, by namespace and name.

    Example:
        >>> print(stand([Awaited("default", "store-1", "s1")], {}).text)
        1 of 1 TenantModels are not Ready yet
          user s1 (store-1): the operator has not read this TenantModel yet
    """
    each_one = list(awaited)
    result = Standing(len(each_one))
    for each in each_one:
        verdict = judge(seen.get(each.key), uri=each.uri, sha256=each.sha256, generation=each.generation)
        if verdict.progress is Progress.STALLED:
            result.stalled.append((each, verdict))
        elif verdict.progress is Progress.WAITING:
            result.waiting.append((each, verdict))
    return result


def _lines(which: list[tuple[Awaited, Verdict]]) -> str:
    """Return one line for each, up to a few, and before them how often each reason is given."""
    reasons = Counter(verdict.reason for _, verdict in which if verdict.reason)
    many = len(which) > _MOST_SHOWN and bool(reasons)
    counted = f" ({', '.join(f'{reason}: {n}' for reason, n in reasons.most_common())})" if many else ""
    shown = [f"\n  {each}: {_why(verdict)}" for each, verdict in which[:_MOST_SHOWN]]
    more = len(which) - _MOST_SHOWN
    return counted + "".join(shown) + (f"\n  and {more} more" if more > 0 else "")


def _why(verdict: Verdict) -> str:
    return f"{verdict.reason}: {verdict.message}" if verdict.reason else verdict.message

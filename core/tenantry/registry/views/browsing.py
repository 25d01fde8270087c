"""TenantModels as people look through them: in pages, by name, user and reason.

A page is found by its place in an index (keyset paging), so the last one costs what the first does, and no
answer holds more than a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, func, or_, select, tuple_, union_all

from tenantry.manifest.status import READY
from tenantry.registry import schema as t
from tenantry.registry.engine import reading
from tenantry.registry.faults import Fault, FaultState
from tenantry.registry.rows import Claim, LoadReport
from tenantry.registry.sql import claim_from, report_from

_MOST_REASONS = 100  # a filter reads the index once for each
_MOST_REPORTS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """A row's place in the order of all TenantModels: by title, then by uid."""

    title: str
    uid: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which TenantModels are asked for, and from where on.

    Attributes:
        text: part of the user id, or of namespace and name, in small or capital letters; empty: any.
        reasons: one of these is theirs; None: any. "" is the one of those without a decision.
        after, before: the page begins after that row, or ends before it; neither: the first page.
        limit: rows of a page.
    """

    text: str = ""
    reasons: tuple[str, ...] | None = None
    after: Place | None = None
    before: Place | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Some TenantModels in their order.

    Attributes:
        previous: the `before` of the page that ends here; None: this one is the first.
        next: the `after` of the page that follows; None: this one is the last.
    """

    claims: Sequence[Claim]
    previous: Place | None = None
    next: Place | None = None


class TenantBrowser:
    """Reads TenantModels for people.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def reasons(self) -> dict[str, int]:
        """Return how many TenantModels have each reason; "" is of those without a decision."""
        query = select(t.claims.c.reason, func.count()).group_by(t.claims.c.reason)
        with reading(self._engine) as connection:
            return {reason: count for reason, count in connection.execute(query)}  # noqa: C416 - typed rows

    def unready(self) -> tuple[str, ...]:
        """Return every reason that is not Ready's, for `Filter.reasons`."""
        return tuple(sorted(self.reasons().keys() - {READY}))[:_MOST_REASONS]

    def page(self, asked: Filter) -> Page:
        """Return one page.

        A page before the second row or so is the first page, filled up.
        """
        backward = asked.before is not None
        with reading(self._engine) as connection:
            found = list(connection.execute(_places(asked)).all())
            more = len(found) > asked.limit
            if backward and not more:
                asked, backward = replace(asked, before=None, after=None), False
                found = list(connection.execute(_places(asked)).all())
                more = len(found) > asked.limit
            places = [Place(row.title, row.uid) for row in found[: asked.limit]]
            if backward:
                places.reverse()
            rows = connection.execute(
                select(t.claims).where(t.claims.c.uid.in_([place.uid for place in places]))
            ).all()
        claims = {row.uid: claim_from(row) for row in rows}
        is_first = not more if backward else asked.after is None
        is_last = False if backward else not more
        return Page(
            [claims[place.uid] for place in places if place.uid in claims],
            previous=None if is_first or not places else places[0],
            next=None if is_last or not places else places[-1],
        )

    def claim(self, uid: str) -> Claim | None:
        """Return one TenantModel; None: it is gone."""
        with reading(self._engine) as connection:
            row = connection.execute(select(t.claims).where(t.claims.c.uid == uid)).first()
        return None if row is None else claim_from(row)

    def loads(self, user_id: str) -> list[LoadReport]:
        """Return what servers say of a user's candidate and the operator has not answered yet."""
        query = select(t.loads).where(t.loads.c.user_id == user_id).order_by(t.loads.c.server_id)
        with reading(self._engine) as connection:
            return [report_from(row) for row in connection.execute(query.limit(_MOST_REPORTS))]

    def faults(self, *, user_id: str | None = None, server_id: str | None = None) -> list[Fault]:
        """Return models in force that servers can't load, of a user or of a server; at most a hundred."""
        query = select(t.faults).order_by(t.faults.c.at, t.faults.c.user_id).limit(_MOST_REPORTS)
        if user_id is not None:
            query = query.where(t.faults.c.user_id == user_id)
        if server_id is not None:
            query = query.where(t.faults.c.server_id == server_id)
        with reading(self._engine) as connection:
            return [
                Fault(
                    row.user_id,
                    row.server_id,
                    row.model_id,
                    row.reason,
                    row.message,
                    FaultState(row.state),
                    row.at,
                )
                for row in connection.execute(query)
            ]

    def mark(self) -> str:
        """Return a text that is another one after every write of the operator; cheap to ask for."""
        with reading(self._engine) as connection:
            return str(connection.execute(select(t.leader.c.mark)).scalar_one())


def _places(asked: Filter) -> Select[Any]:
    """Make the statement that finds the rows of a page, and one more where there is one."""
    if asked.reasons is None:
        return _of(asked, None)
    # Each reason by its own stretch of the index: a filter that few rows pass reads only these.
    parts = [_of(asked, reason).subquery() for reason in asked.reasons[:_MOST_REASONS] or ("?",)]
    united = union_all(*(select(part.c.title, part.c.uid) for part in parts)).subquery()
    order = [united.c.title, united.c.uid]
    return (
        select(united.c.title, united.c.uid)
        .order_by(*([each.desc() for each in order] if asked.before else order))
        .limit(asked.limit + 1)
    )


def _of(asked: Filter, reason: str | None) -> Select[Any]:
    rows = t.claims.c
    query = select(rows.title, rows.uid).limit(asked.limit + 1)
    if reason is not None:
        query = query.where(rows.reason == reason)
    if asked.text:
        query = query.where(_contains(asked.text))
    here = tuple_(rows.title, rows.uid)
    if asked.before is not None:
        query = query.where(here < tuple_(asked.before.title, asked.before.uid))
        return query.order_by(rows.title.desc(), rows.uid.desc())
    if asked.after is not None:
        query = query.where(here > tuple_(asked.after.title, asked.after.uid))
    return query.order_by(rows.title, rows.uid)


def _contains(text: str) -> ColumnElement[bool]:
    return or_(
        t.claims.c.user_id.icontains(text, autoescape=True),
        t.claims.c.title.icontains(text, autoescape=True),
    )

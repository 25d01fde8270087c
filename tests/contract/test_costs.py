"""The table of costs on SQLite and PostgreSQL: added to by each server, summed up for people."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Engine

from tenantry.registry import Cost, CostBook, OperatorRegistry
from tenantry.registry.costs import KEPT_DAYS, OTHERS

MONDAY, TUESDAY = date(2026, 11, 30), date(2026, 12, 1)


def test_costs_of_hours_and_servers_add_up(engine: Engine) -> None:
    book = CostBook(engine)
    for server_id, day in (("a", MONDAY), ("a", MONDAY), ("b", MONDAY), ("a", TUESDAY)):
        book.add(server_id, day, [Cost("ann", 3, 1, 0.5, 1e6), Cost("bob", 1, 0, 0.25, 0.0)])
    assert book.between(MONDAY, MONDAY) == [Cost("ann", 9, 3, 1.5, 3e6), Cost("bob", 3, 0, 0.75, 0.0)]
    assert book.between(MONDAY, TUESDAY, user_id="ann") == [Cost("ann", 12, 4, 2.0, 4e6)]
    assert book.between(TUESDAY, MONDAY) == []
    assert book.between(MONDAY, TUESDAY, user_id="nobody") == []


def test_those_who_are_not_counted_one_by_one_have_a_row(engine: Engine) -> None:
    book = CostBook(engine)
    book.add("a", MONDAY, [Cost(OTHERS, 5, 0, 1.0, 2.0)])
    assert book.between(MONDAY, MONDAY) == [Cost(OTHERS, 5, 0, 1.0, 2.0)]


def test_the_operator_forgets_days_of_long_ago(operator: OperatorRegistry, engine: Engine) -> None:
    book, today = CostBook(engine), datetime.now(UTC).date()
    old, kept = today - timedelta(days=KEPT_DAYS + 2), today - timedelta(days=KEPT_DAYS - 2)
    for day in (old, kept, today):
        book.add("a", day, [Cost("ann", 1, 0, 0.0, 0.0)])
    operator.sweep(forget_servers_s=600.0)
    assert book.between(old, today) == [Cost("ann", 2, 0, 0.0, 0.0)]


def test_two_servers_add_to_the_same_day_at_once(opened: Callable[[], Engine], engine: Engine) -> None:
    """Each has rows of its own, so none waits for the other's."""
    books = [CostBook(opened()) for _ in range(2)]
    costs = [Cost(f"user-{number:03}", 1, 0, 0.0, 0.0) for number in range(200)]
    for _ in range(3):
        for place, book in enumerate(books):
            book.add(f"server-{place}", MONDAY, costs if place else costs[::-1])
    assert {cost.requests for cost in CostBook(engine).between(MONDAY, MONDAY)} == {6}

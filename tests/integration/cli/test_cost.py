"""`tenantry cost`: what each tenant has cost, for people, spreadsheets and programs."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tenantry.registry import Cost, CostBook, open_engine
from tenantry.registry.costs import OTHERS
from tenantry_cli.commands.looking.cost import command
from tests.support.databases.migrated import migrate

LAST, FIRST = date(2026, 11, 30), date(2026, 12, 1)


class Costs:
    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/registry.db"
        self.engine = open_engine(self.url)
        migrate(self.engine)
        self.book = CostBook(self.engine)

    def shown(self, *args: str) -> Result:
        return CliRunner().invoke(command, [*args, "--registry", self.url])


@pytest.fixture
def costs(tmp_path: Path) -> Iterator[Costs]:
    costs = Costs(tmp_path)
    costs.book.add("a", LAST, [Cost("ann", 2, 1, 0.5, 1 << 30), Cost("bob", 1, 0, 2.0, 0.0)])
    costs.book.add("b", LAST, [Cost("ann", 1, 0, 0.25, 1 << 30), Cost(OTHERS, 9, 0, 0.1, 0.0)])
    costs.book.add("a", FIRST, [Cost("ann", 4, 0, 1.0, 0.0)])
    yield costs
    costs.engine.dispose()


def test_a_month_and_a_day_are_added_up_over_servers(costs: Costs) -> None:
    rows = [line.split() for line in costs.shown("--month", "2026-11").stdout.splitlines()]
    assert rows == [
        ["USER", "REQUESTS", "ERRORS", "CPU", "S", "GIB", "HOURS"],
        ["bob", "1", "0", "2.000", "0.000000"],
        ["ann", "3", "1", "0.750", "2.000000"],
        ["(others)", "9", "0", "0.100", "0.000000"],
    ]
    rows = [line.split() for line in costs.shown("--day", "2026-12-01").stdout.splitlines()[1:]]
    assert rows == [["ann", "4", "0", "1.000", "0.000000"]]
    assert costs.shown("--month", "2025-02").stdout.splitlines()[1:] == []


def test_csv_and_json_have_exact_numbers_by_user(costs: Costs) -> None:
    [*rows] = csv.DictReader(costs.shown("--month", "2026-11", "-o", "csv").stdout.splitlines())
    assert [row["user_id"] for row in rows] == [OTHERS, "ann", "bob"]
    assert rows[1] == {
        "user_id": "ann",
        "requests": "3",
        "errors": "1",
        "cpu_seconds": "0.75",
        "byte_hours": str(float(2 << 30)),
    }
    document = json.loads(costs.shown("ann", "--month", "2026-12", "-o", "json").stdout)
    assert document == {
        "first": "2026-12-01",
        "last": "2026-12-31",
        "tenants": [{"user_id": "ann", "requests": 4, "errors": 0, "cpu_seconds": 1.0, "byte_hours": 0.0}],
    }


def test_this_month_is_shown_where_nothing_else_is_asked(costs: Costs) -> None:
    before = datetime.now(UTC).date()
    document = json.loads(costs.shown("-o", "json").stdout)
    after = datetime.now(UTC).date()
    assert document["first"] in {day.replace(day=1).isoformat() for day in (before, after)}


def test_what_is_not_understood_is_refused_in_words(costs: Costs) -> None:
    assert "no costs of user 'nobody'" in costs.shown("nobody", "--day", "2026-11-30").stderr
    assert costs.shown("--day", "2026-11-30", "--month", "2026-11").exit_code == 2
    assert costs.shown("--day", "yesterday").exit_code == 2

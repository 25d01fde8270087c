"""`tenantry cost`."""

import csv
import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
from rich.table import Table

from tenantry.registry import Cost, RegistryReader
from tenantry.registry.costs import KEPT_DAYS, OTHERS
from tenantry.settings import CommonSettings
from tenantry_cli import console, options

_GIB = float(1 << 30)
_COLUMNS = ("user_id", "requests", "errors", "cpu_seconds", "byte_hours")


@click.command("cost")
@click.argument("user", required=False)
@click.option(
    "--month", type=click.DateTime(["%Y-%m"]), metavar="YYYY-MM", help="[default: this month, of UTC]"
)
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="One day instead.")
@options.registry
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Form of what is printed.",
)
def command(
    user: str | None, month: datetime | None, day: datetime | None, output: str, **given: Any
) -> None:
    """Show what each tenant has cost: requests, CPU seconds of its model, and its bytes in memory.

    Memory is in GiB hours, in CSV and JSON in byte hours. The table has the most CPU first, CSV and JSON go
    by user. Servers write at every full hour and when they stop; a server that dies loses an hour at most.
    62 days are kept. Tenants that a server did not count one by one have the empty user id together, in the
    table (others). The exit status is 1 if USER has no costs.
    """
    if month is not None and day is not None:
        raise click.UsageError("give --month or --day, not both")
    first, last = _days(month, day)
    settings = options.settings(CommonSettings, **given)
    with RegistryReader.of_existing(settings.registry_url) as registry:
        costs = registry.costs().between(first, last, user_id=user)
    if user is not None and not costs:
        raise click.ClickException(f"no costs of user {user!r} are recorded from {first} to {last}")
    _show(costs, first, last, output)


def _days(month: datetime | None, day: datetime | None) -> tuple[date, date]:
    """Return the first and the last day."""
    if day is not None:
        return day.date(), day.date()
    first = (month or datetime.now(UTC)).date().replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _show(costs: Sequence[Cost], first: date, last: date, output: str) -> None:
    if output == "json":
        tenants = [dict(zip(_COLUMNS, _values(cost), strict=True)) for cost in costs]
        document = {"first": first.isoformat(), "last": last.isoformat(), "tenants": tenants}
        click.echo(json.dumps(document))
    elif output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(map(_values, costs))
    else:
        console.out.print(_table(sorted(costs, key=lambda cost: (-cost.cpu_s, -cost.byte_hours))))
        console.say(f"{first} to {last}, days of UTC; {KEPT_DAYS} days are kept")


def _values(cost: Cost) -> tuple[str, int, int, float, float]:
    return cost.user_id, cost.requests, cost.errors, cost.cpu_s, cost.byte_hours


def _table(costs: Sequence[Cost]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("USER", no_wrap=True, overflow="ellipsis")
    for title in ("REQUESTS", "ERRORS", "CPU S", "GIB HOURS"):
        table.add_column(title, justify="right", no_wrap=True)
    for cost in costs:
        table.add_row(
            "(others)" if cost.user_id == OTHERS else cost.user_id,
            str(cost.requests),
            str(cost.errors),
            f"{cost.cpu_s:.3f}",
            f"{cost.byte_hours / _GIB:.6f}",
        )
    return table

"""`tenantry forecast`."""

import json
from typing import Any, BinaryIO

import click

from tenantry.settings import CommonSettings
from tenantry_cli import asking, options


@click.command("forecast")
@click.argument("user_id")
@click.option("-n", "--horizon", type=click.IntRange(min=1), help="How many steps.")
@click.option("--from", "start", help="The first step: a time, or its number. [default: the next one]")
@click.option(
    "-q", "--quantile", "quantiles", type=float, multiple=True, help="Such as 0.1; may be repeated."
)
@click.option(
    "-f", "--file", type=click.File("rb"), help="Read history and exog, or all, from a JSON file."
)
@options.server
@options.registry
def command(
    user_id: str,
    horizon: int | None,
    start: str | None,
    quantiles: tuple[float, ...],
    file: BinaryIO | None,
    url: str | None,
    timeout_s: float,
    **given: Any,
) -> None:
    """Ask for a forecast for USER_ID and print the answer.

    A file holds the body of POST /forecast: {"horizon": 14, "history": …, "exog": …}; options go before it.
    """
    body = {} if file is None else _read(file)
    if horizon is not None:
        body["horizon"] = horizon
    if "horizon" not in body:
        raise click.UsageError("give the number of steps with --horizon, or in a file")
    if start is not None:
        body["from"] = int(start) if start.lstrip("-").isdigit() else start
    if quantiles:
        body["quantiles"] = list(quantiles)
    base = asking.server_of(url, options.settings(CommonSettings, **given))
    asking.show(asking.ask(base, "/forecast/", user_id, json.dumps(body).encode(), timeout_s))


def _read(file: BinaryIO) -> dict[str, Any]:
    try:
        document = json.load(file)
    except ValueError as error:
        raise click.UsageError(f"{file.name} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise click.UsageError(f'{file.name} must hold an object such as {{"horizon": 14}}')
    return document

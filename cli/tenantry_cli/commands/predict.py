"""`tenantry predict`."""

import sys
from typing import Any, BinaryIO

import click

from tenantry.settings import CommonSettings
from tenantry_cli import asking, options


@click.command("predict")
@click.argument("user_id")
@click.option("-d", "--data", help='JSON body, such as \'[{"a": 1, "b": 2}]\'. [default: standard input]')
@click.option("-f", "--file", type=click.File("rb"), help="Read the body from a file.")
@click.option("--example", is_flag=True, help="Ask the example rows of the model's card.")
@options.server
@options.registry
def command(
    user_id: str,
    data: str | None,
    file: BinaryIO | None,
    url: str | None,
    timeout_s: float,
    *,
    example: bool,
    **given: Any,
) -> None:
    """Ask for a prediction for USER_ID and print the answer.

    The body is a list of records, {"columns": [...], "data": [[...]]}, or {"instances": [[...]]}.
    """
    given_rows = data is not None or file is not None
    if given_rows and example:
        raise click.UsageError("give either --example or rows of your own")
    if not given_rows and not example and sys.stdin.isatty():
        raise click.UsageError("give the rows with --data or --file, or pipe them in; or ask --example")
    base = asking.server_of(url, options.settings(CommonSettings, **given))
    if example:
        card = asking.card_of(base, user_id, timeout_s)
        if card is None:
            raise click.ClickException(f"the model of user {user_id!r} has no card; give rows with --data")
        body = asking.example_body(card)
    else:
        body = data.encode() if data is not None else (file or sys.stdin.buffer).read()
    asking.show(asking.ask(base, "/predict/", user_id, body, timeout_s))

"""`tenantry predict`."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, BinaryIO

import click

from tenantry.registry import RegistryReader
from tenantry.settings import CommonSettings
from tenantry_cli import console, options, overview


@click.command("predict")
@click.argument("user_id")
@click.option("-d", "--data", help='JSON body, such as \'[{"a": 1, "b": 2}]\'. [default: standard input]')
@click.option("-f", "--file", type=click.File("rb"), help="Read the body from a file.")
@click.option("--url", help="Base URL of a server. [default: any live one in the registry]")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.001, max=86_400),
    default=30.0,
    show_default=True,
    help="Seconds.",
)
@options.registry
def command(
    user_id: str,
    data: str | None,
    file: BinaryIO | None,
    url: str | None,
    timeout_s: float,
    **given: Any,
) -> None:
    """Ask for a prediction for USER_ID and print the answer.

    The body is a list of records, {"columns": [...], "data": [[...]]}, or {"instances": [[...]]}.
    """
    if data is None and file is None and sys.stdin.isatty():
        raise click.UsageError("give the rows with --data or --file, or pipe them in")
    body = data.encode() if data is not None else (file or sys.stdin.buffer).read()
    base = url or _any_server(options.settings(CommonSettings, **given))
    address = f"{base.rstrip('/')}/predict/{urllib.parse.quote(user_id)}"
    if not address.startswith(("http://", "https://")):
        raise click.UsageError(f"--url must begin with http:// or https://, got {base!r}")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        address, data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            console.out.print(answer.read().decode(), markup=False)
            model_id = answer.headers["Tenantry-Model-Id"]
            console.say(f"answered by {answer.headers['Tenantry-Server']} with {model_id}")
    except urllib.error.HTTPError as error:
        raise click.ClickException(f"{error.code} {_message(error.read())}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)  # urllib wraps what the socket said
        raise click.ClickException(f"no answer from {base}: {reason}") from None


def _any_server(settings: CommonSettings) -> str:
    with RegistryReader.of_existing(settings.registry_url) as registry:
        servers = overview.live_servers(registry)
    if not servers:
        raise click.ClickException("no model server is running; start one, or give --url")
    return servers[0].endpoint


def _message(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return f"{error['reason']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]

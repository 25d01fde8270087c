"""`tenantry top`."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from rich.table import Table

from tenantry.registry import RegistryReader, Server
from tenantry.settings import CommonSettings
from tenantry_cli import asking, console, options
from tenantry_cli.views import overview
from tenantry_cli.views.fleet_top import ORDERS, Top, added

_ASKED = 16  # servers at once
_MOST = 1000  # tenants that a server lists at a time


@click.command("top")
@click.option(
    "--by",
    type=click.Choice(ORDERS),
    default="requests",
    show_default=True,
    help="What comes first.",
)
@click.option(
    "--limit", type=click.IntRange(1, _MOST), default=10, show_default=True, help="How many tenants."
)
@options.registry
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.001, max=600),
    default=10.0,
    show_default=True,
    help="Seconds, of each server.",
)
@click.option("--key-stdin", is_flag=True, help="Read the API key from standard input.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Form of what is printed.",
)
def command(by: str, limit: int, timeout_s: float, output: str, *, key_stdin: bool, **given: Any) -> None:
    """Show which tenants ask, fail, compute or fill memory most, over all live servers.

    Counts are of the last one to two hours; BYTES is what a tenant's model takes now, on all servers.
    Needs TENANTRY_OPEN_LISTS=true on the servers, or with TENANTRY_AUTH=required an admin's key in
    TENANTRY_API_KEY. The exit status is 1 where a server did not answer; it is named.
    """
    settings = options.settings(CommonSettings, **given)
    with RegistryReader.of_existing(settings.registry_url) as registry:
        servers = overview.live_servers(registry)
    if not servers:
        raise click.ClickException("no model server is running")
    headers = _credentials(key_stdin=key_stdin)
    query = urllib.parse.urlencode({"by": by, "limit": _MOST})

    def ask(server: Server) -> Mapping[str, Any] | str:
        return _asked(server, query, headers, timeout_s)

    with ThreadPoolExecutor(_ASKED) as pool:
        answers = dict(zip((s.server_id for s in servers), pool.map(ask, servers), strict=True))
    silent = {server_id: said for server_id, said in answers.items() if isinstance(said, str)}
    top = added([said for said in answers.values() if not isinstance(said, str)], by, limit)
    if top.servers:
        _show(top, output)
    for server_id, problem in silent.items():
        console.say(f"{server_id} is left out: {problem}")
    if silent:
        raise click.exceptions.Exit(1)


def _credentials(*, key_stdin: bool) -> dict[str, str]:
    if not key_stdin:
        return asking.credentials()
    return {"Authorization": f"Bearer {sys.stdin.readline().strip()}"}


def _asked(
    server: Server, query: str, headers: Mapping[str, str], timeout_s: float
) -> Mapping[str, Any] | str:
    """Return what a server says, or in words why it says nothing."""
    address = f"{server.endpoint.rstrip('/')}/tenants/top?{query}"
    try:
        request = urllib.request.Request(address, headers=dict(headers))  # noqa: S310 - of the registry
        with urllib.request.urlopen(  # noqa: S310 - as above
            request, timeout=timeout_s, context=asking.trusted(server.endpoint)
        ) as answer:
            said: dict[str, Any] = json.load(answer)
            return said
    except urllib.error.HTTPError as error:
        return str(asking.Refused(error.code, error.read()).message)
    except (OSError, ValueError) as error:
        return f"no answer from {server.endpoint}: {getattr(error, 'reason', error)}"


def _show(top: Top, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(top.document()))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("USER", no_wrap=True, overflow="ellipsis")
    for title in ("REQUESTS", "4XX", "5XX", "TIMEOUTS", "LIMITED", "CPU S", "P50 MS", "P99 MS", "BYTES"):
        table.add_column(title, justify="right", no_wrap=True)
    for tenant in top.tenants:
        table.add_row(tenant["userId"], *_cells(tenant), console.size(tenant["bytes"]))
    console.out.print(table)
    others = f"; {top.others['requests']} requests of tenants that are not listed one by one"
    console.say(f"{top.servers} servers, since {top.since}" + (others if top.others["requests"] else ""))


def _cells(tenant: Mapping[str, Any]) -> Sequence[str]:
    counts = ("requests", "clientErrors", "serverErrors", "timeouts", "limited")
    latency = tenant["latency"]
    return [
        *(str(tenant[name]) for name in counts),
        f"{tenant['cpuSeconds']:.3f}",
        *(_ms(latency[name]) for name in ("p50Seconds", "p99Seconds")),
    ]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"

"""`tenantry get`."""

import json
import shlex
from typing import Any
from urllib.parse import quote

import click
from rich.table import Table
from rich.text import Text

from tenantry import ModelId
from tenantry.model_id import public_name
from tenantry.registry import RegistryReader
from tenantry.settings import CommonSettings
from tenantry_cli import asking, console, options
from tenantry_cli.views import live_workers, overview, server_tables, shards
from tenantry_cli.views.overview import Tenant

_CARD_S = 5.0
_MOST_COLUMNS = 40
_STYLE = {"True": "green", "False": "yellow", "Unknown": "dim"}


@click.command("get")
@click.argument("name", required=False, metavar="[USER_OR_NAME | servers | server | shards]")
@click.argument("user", required=False, metavar="[SERVER | USER]")
@options.registry
@click.option("--unready", is_flag=True, help="Only tenants that are not Ready, with why.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Form of what is printed.",
)
def command(name: str | None, user: str | None, output: str, *, unready: bool, **given: Any) -> None:
    """Show tenants with their status; one in full; the servers; or the shards.

    READY is True when every live server answers with exactly this version. `tenantry get servers` shows
    the model servers, `tenantry get server SERVER` the processes in which one of them runs models,
    `tenantry get shards` what each of them holds, and `tenantry get shards USER` where a user is. The exit
    status is 1 if the named tenant or server does not exist.
    """
    if user is not None and name not in ("shards", "server"):
        raise click.UsageError(
            f"only `tenantry get shards` and `tenantry get server` take a second name, not {user!r}"
        )
    if user is None and name == "server":
        raise click.UsageError("give the name of the server, as `tenantry get servers` shows it")
    settings = options.settings(CommonSettings, **given)
    with RegistryReader.of_existing(settings.registry_url) as registry:
        if name == "servers":
            server_tables.show_servers(overview.live_servers(registry), output)
        elif name == "server":
            server_tables.show_workers(live_workers.of_server(registry, str(user)), output)
        elif name == "shards" and user is None:
            server_tables.show_shards(shards.shard_map(registry), output)
        elif name == "shards":
            server_tables.show_place(shards.place_of(registry, str(user)), output)
        else:
            _show_tenants(registry, name, output, unready=unready)


def _show_tenants(registry: RegistryReader, name: str | None, output: str, *, unready: bool) -> None:
    found = overview.tenants(registry, named=name)
    if name is not None and not found:
        raise click.ClickException(f"no TenantModel is named {name!r} or has this userId")
    shown = [tenant for tenant in found if not unready or tenant.ready != "True"]
    if output == "json":
        console.out.print_json(json.dumps([as_document(tenant) for tenant in shown]))
    elif name is not None:
        base = asking.any_server(registry)
        for tenant in shown:
            _show_one(tenant, base)
    else:
        console.out.print(_reasons(shown) if unready else _table(shown))
        ready = sum(tenant.ready == "True" for tenant in found)
        degraded = sum(tenant.reason == "Degraded" for tenant in found)
        console.say(f"{ready} of {len(found)} Ready" + (f", {degraded} Degraded" if degraded else ""))


def _table(tenants: list[Tenant]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("NAME", "USER", "VERSION", "READY", "REASON", "SIZE"):
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    for tenant in tenants:
        claim = tenant.claim
        table.add_row(
            _name(tenant),
            claim.user_id or "-",
            tenant.version,
            f"[{_STYLE[tenant.ready]}]{tenant.ready}[/]",
            "" if tenant.reason == "Ready" else tenant.reason,
            console.size(claim.size_bytes),
        )
    return table


def _reasons(tenants: list[Tenant]) -> Table:
    """Make a table of what each one waits for: only its messages fold, on a narrow terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("NAME", "USER", "REASON"):
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    table.add_column("MESSAGE", overflow="fold", min_width=30)
    for tenant in tenants:
        table.add_row(_name(tenant), tenant.claim.user_id or "-", tenant.reason, Text(tenant.message))
    return table


def _name(tenant: Tenant) -> str:
    claim = tenant.claim
    return claim.name if claim.namespace == "default" else f"{claim.namespace}/{claim.name}"


def _show_one(tenant: Tenant, base: str | None) -> None:
    claim = tenant.claim
    rows = {
        "TenantModel": f"{claim.namespace}/{claim.name}",
        "User": claim.user_id or "-",
        "Declared": claim.spec["model"]["uri"] if claim.spec else "-",
        "Answers": claim.model_id or "nothing yet",
        "Clients see": public_name(claim.model_id) if claim.model_id else "-",
        "Size": console.size(claim.size_bytes),
        "Generation": f"{claim.generation} (observed {claim.observed_generation})",
        "Ready": f"{tenant.ready} {tenant.reason}".strip(),
        "Message": tenant.message,
        "File": claim.origin or "-",
        **_described(tenant, base),
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for title, value in rows.items():
        table.add_row(title, value)
    console.out.print(table)


def _described(tenant: Tenant, base: str | None) -> dict[str, str]:
    """Return what the model takes, as a live server reads it on its card, and how to ask it."""
    model_id, user_id = tenant.claim.model_id, tenant.claim.user_id
    if base is None or user_id is None or model_id is None or ModelId.parse(model_id).card is None:
        return {}
    try:
        card = asking.card_of(base, user_id, _CARD_S)
    except click.ClickException as error:
        return {"Takes": f"unknown: {error.message}"}
    if card is None:
        return {}
    columns = [f"{each['name']} ({each['dtype'] or each['kind']})" for each in card["columns"]]
    more = f", and {len(columns) - _MOST_COLUMNS} more" if len(columns) > _MOST_COLUMNS else ""
    trained = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    body = shlex.quote(asking.example_body(card, 1).decode())
    return {
        "Takes": ", ".join(columns[:_MOST_COLUMNS]) + more,
        "Trained with": trained,
        "Try": f"curl {base}/predict/{quote(user_id)} -H 'Content-Type: application/json' -d {body}",
    }


def as_document(tenant: Tenant) -> dict[str, Any]:
    """A tenant as `-o json` prints it."""
    claim = tenant.claim
    return {
        "namespace": claim.namespace,
        "name": claim.name,
        "userId": claim.user_id,
        "spec": claim.spec,
        "file": claim.origin,
        "generation": claim.generation,
        "status": {
            "observedGeneration": claim.observed_generation,
            "modelId": claim.model_id,
            "sizeBytes": claim.size_bytes,
            "conditions": claim.conditions,
        },
    }

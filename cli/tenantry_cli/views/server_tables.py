"""Servers, shards and where a user is, as `tenantry get` prints them."""

import json
from typing import Any

from rich.table import Table

from tenantry.registry import Holding, Server
from tenantry_cli import console
from tenantry_cli.views.shards import Place, ShardMap, Share

_STYLE = {"live": "green", "leaving": "yellow", "gone": "red"}


def show_servers(servers: list[Server], output: str) -> None:
    """Print the model servers whose lease holds."""
    if output == "json":
        plain = [
            {"serverId": s.server_id, "endpoint": s.endpoint, "ackedRevision": s.acked_revision}
            | {"usedBytes": s.report.used_bytes, "capacityBytes": s.capacity_bytes}
            | {"load": s.report.load, "leaving": s.report.leaving}
            for s in servers
        ]
        console.out.print_json(json.dumps(plain))
        return
    table = _table("SERVER", "ENDPOINT", "REVISION", "CACHE", "OF", "LOAD")
    for s in servers:
        table.add_row(
            s.server_id,
            s.endpoint,
            str(s.acked_revision),
            console.size(s.report.used_bytes),
            console.size(s.capacity_bytes),
            f"{s.report.load:.0%}",
        )
    console.out.print(table)


def show_workers(workers: dict[str, Any], output: str) -> None:
    """Print the processes in which one server runs models, and the models that were at fault there."""
    if output == "json":
        console.out.print_json(json.dumps(workers))
        return
    table = _table("PID", "ROLE", "NEEDS", "MODELS", "IN MEMORY", "BUSY", "WAITING", numbers=3)
    for worker in workers["workers"]:
        table.add_row(
            str(worker["pid"]),
            worker["role"],
            worker["needs"] or "-",
            str(worker["models"]),
            console.size(worker["residentBytes"]),
            "slow" if worker["slow"] else "yes" if worker["busy"] else "-",
            str(worker["waiting"] or "-"),
        )
    console.out.print(table)
    ended = ", ".join(f"{count} {cause}" for cause, count in workers["ended"].items())
    console.say(f"{len(workers['workers'])} workers; since the server started: {ended}")
    for model_id, strikes in workers["strikes"].items():
        console.say(f"{model_id}: {strikes['count']} strikes, the latest: {strikes['latest']}")


def show_shards(shards: ShardMap, output: str) -> None:
    """Print what each server holds; as JSON, with the whole map."""
    if output == "json":
        document = {
            "servers": [_as_document(share) for share in shards.shares],
            "maxOverMean": shards.max_over_mean,
            "shards": {str(shard): _pair(row) for shard, row in sorted(shards.holdings.items())},
        }
        console.out.print_json(json.dumps(document))
        return
    table = _table(
        "SERVER", "STATE", "SHARDS", "ARRIVING", "TENANTS", "BYTES", "IN MEMORY", "OF", "LOAD", numbers=2
    )
    for share in shards.shares:
        server = share.server if share.state != "gone" else None
        table.add_row(
            share.server_id,
            f"[{_STYLE[share.state]}]{share.state}[/]",
            str(share.shards),
            str(share.arriving or "-"),
            str(share.tenants),
            console.size(share.assigned_bytes),
            console.size(server.report.used_bytes if server else None),
            console.size(server.capacity_bytes if server else None),
            f"{server.report.load:.0%}" if server else "-",
        )
    console.out.print(table)
    ratio = shards.max_over_mean
    balance = "" if ratio is None else f"; the fullest holds {ratio:.2f} times the mean"
    console.say(f"{len(shards.holdings)} shards, {shards.moving} being handed over{balance}")


def show_place(place: Place, output: str) -> None:
    """Print which servers hold one user's model."""
    row = place.holding
    if output == "json":
        document = {"userId": place.user_id, "shard": place.shard, "servers": place.server_ids}
        console.out.print_json(json.dumps(document | ({} if row is None else _pair(row))))
        return
    table = _table("USER", "SHARD", "SERVER", "NEXT", "MODEL ON")
    table.add_row(
        place.user_id,
        str(place.shard),
        "-" if row is None else row.server_id,
        (row and row.next_id) or "-",
        ", ".join(place.server_ids) or "-",
    )
    console.out.print(table)


def _table(*titles: str, numbers: int | None = None) -> Table:
    """Make an empty table; columns from the place `numbers` on are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(titles):
        right = numbers is not None and place >= numbers
        table.add_column(title, justify="right" if right else "left")
    return table


def _pair(row: Holding) -> dict[str, str | None]:
    return {"server": row.server_id, "next": row.next_id}


def _as_document(share: Share) -> dict[str, object]:
    server = share.server
    said = None if server is None else server.report
    return {
        "serverId": share.server_id,
        "state": share.state,
        "shards": share.shards,
        "arriving": share.arriving,
        "tenants": share.tenants,
        "assignedBytes": share.assigned_bytes,
        "usedBytes": None if said is None else said.used_bytes,
        "capacityBytes": None if server is None else server.capacity_bytes,
        "load": None if said is None else said.load,
    }

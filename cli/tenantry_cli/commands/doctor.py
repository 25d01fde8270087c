"""`tenantry doctor`."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click
from rich.table import Table

from tenantry import ModelId, logs
from tenantry.registry import Assignment, RegistryReader
from tenantry_cli import console, options
from tenantry_server.checkup import Checked, check
from tenantry_server.settings import ServerSettings

_SAY_EVERY = 100


@click.command("doctor")
@options.registry
@click.option("--user", "users", multiple=True, metavar="USER", help="Only this user; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print every model, as JSON.")
def command(users: tuple[str, ...], *, as_json: bool, **given: Any) -> int:
    """Load every model that answers with the libraries installed here, and list those that would not.

    Run it before an upgrade, in the image or environment that the servers are to have: what it lists would
    answer 503 there. A model that another version of scikit-learn wrote is listed with a warning. A model
    with a card has to answer its example rows, too.

    It reads the registry and the artifacts, and changes nothing: a model that does not load has to be
    trained again. Models run in worker processes with deadlines, as in a server, and with the same settings
    (TENANTRY_FILE_ROOTS, TENANTRY_LOAD_TIMEOUT_S, TENANTRY_SANDBOX, TENANTRY_VERSION_SKEW).

    The exit status is 1 if a model would not load or answers otherwise.
    """
    settings = options.settings(ServerSettings, **given)
    logs.configure("error", process="doctor")
    with RegistryReader.of_existing(settings.registry_url) as registry:
        rows = registry.assigned()
    unknown = [user for user in users if user not in rows]
    if unknown:
        raise click.ClickException(f"no model is assigned to user {unknown[0]!r}")
    of_model = _users_of_models([rows[user] for user in users] or list(rows.values()))
    results: dict[str, Checked] = {}

    def checked(result: Checked) -> None:
        results[result.model_id] = result
        if len(results) % _SAY_EVERY == 0:
            console.say(f"{len(results):,} of {len(of_model):,} models checked")

    asyncio.run(check(settings, list(of_model), checked))
    found = [(user, results[model_id]) for model_id, owned in of_model.items() for user in owned]
    found.sort(key=lambda each: each[0])
    _show(found, as_json=as_json)
    return int(any(result.reason for _, result in found))


def _users_of_models(rows: Collection[Assignment]) -> Mapping[str, Sequence[str]]:
    """Return the users of each model that answers; of one that never loaded, its candidate's."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        model_id = row.model_id or row.candidate_id
        if model_id is not None:
            found[model_id].append(row.user_id)
    return found


def _show(found: Sequence[tuple[str, Checked]], *, as_json: bool) -> None:
    broken = sum(bool(result.reason) for _, result in found)
    skewed = sum(bool(result.skew) and not result.reason for _, result in found)
    if as_json:
        console.out.print_json(json.dumps([_document(user, result) for user, result in found]))
    elif broken or skewed:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("USER", "VERSION", "RESULT", "MESSAGE"):
            table.add_column(title, overflow="fold", no_wrap=title != "MESSAGE")
        for user, result in found:
            if result.reason or result.skew:
                version = ModelId.parse(result.model_id).short
                style = "red" if result.reason else "yellow"
                verdict = result.reason or "VersionSkew"
                table.add_row(user, version, f"[{style}]{verdict}[/]", result.message or result.skew)
        console.out.print(table)
    words = f"{broken:,} of {len(found):,} tenants would not be served"
    console.say(f"{words}, {skewed:,} by another version of their library" if skewed else words)


def _document(user_id: str, result: Checked) -> dict[str, Any]:
    return {
        "userId": user_id,
        "modelId": result.model_id,
        "ok": not result.reason,
        "reason": result.reason,
        "message": result.message,
        "versionSkew": result.skew,
    }

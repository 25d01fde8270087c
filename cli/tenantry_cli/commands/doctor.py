"""`tenantry doctor`."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from tenantry import ModelId
from tenantry.processes import logs
from tenantry.registry import Assignment, Claim, RegistryReader
from tenantry_cli import console, options
from tenantry_server.doctor.checkup import Checked, check
from tenantry_server.settings import ServerSettings

if TYPE_CHECKING:
    from tenantry_cli.declaring.fixes import Fix

_SAY_EVERY = 100


@click.command("doctor")
@options.registry
@click.option("--user", "users", multiple=True, metavar="USER", help="Only this user; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print every model, as JSON.")
@click.option(
    "--fix",
    is_flag=True,
    help="Store models again that another version wrote and that answer the example rows of their card.",
)
@click.option(
    "--manifests",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="With --fix: the folder whose manifests declare what was stored. [default: a command is printed]",
)
def command(
    users: tuple[str, ...], *, as_json: bool, fix: bool, manifests: Path | None, **given: Any
) -> int:
    """Load every model that answers with the libraries installed here, and list those that would not.

    Run it before an upgrade, in the image or environment that the servers are to have: what it lists would
    answer 503 there. A model that another version of scikit-learn wrote is listed with a warning. A model
    with a card has to answer its example rows, too.

    It reads the registry and the artifacts. Without --fix it changes nothing. Models run in worker
    processes with deadlines, as in a server, and with the same settings (TENANTRY_FILE_ROOTS,
    TENANTRY_LOAD_TIMEOUT_S, TENANTRY_SANDBOX, TENANTRY_VERSION_SKEW).

    With --fix, a joblib or pickle file that another version of scikit-learn wrote is written again by the
    one installed here, if its model answers the example rows of its card as it did where it was trained.
    The new file and its card lie beside the old ones, which stay. The manifest in --manifests then declares
    the new file; else a kubectl command that does so is printed. Any other model has to be trained again,
    and is not touched.

    The exit status is 1 if a model in force would not load or answers otherwise.
    """
    if manifests is not None and not fix:
        raise click.UsageError("--manifests is for --fix, which was not given")
    settings = options.settings(ServerSettings, **given)
    logs.configure("error", process="doctor")
    with RegistryReader.of_existing(settings.registry_url) as registry:
        rows = registry.assigned()
        claims = {claim.uid: claim for claim in registry.claims()} if fix else {}
    unknown = [user for user in users if user not in rows]
    if unknown:
        raise click.ClickException(f"no model is assigned to user {unknown[0]!r}")
    of_model = _users_of_models([rows[user] for user in users] or list(rows.values()))
    results: dict[str, Checked] = {}

    def checked(result: Checked) -> None:
        results[result.model_id] = result
        if len(results) % _SAY_EVERY == 0:
            console.say(f"{len(results):,} of {len(of_model):,} models checked")

    wanted = _fixable(of_model, rows, claims) if fix else ()
    asyncio.run(check(settings, list(of_model), checked, fix=wanted))
    found = [(user, results[model_id]) for model_id, owned in of_model.items() for user in owned]
    found.sort(key=lambda each: each[0])
    fixed = _declared(found, rows, claims, manifests) if fix else {}
    _show(found, fixed, as_json=as_json)
    return int(any(result.reason for _, result in found))


def _fixable(
    of_model: Mapping[str, Sequence[str]], rows: Mapping[str, Assignment], claims: Mapping[str, Claim]
) -> set[str]:
    """Return the models that some tenant still declares, as of the others a new artifact has no use."""
    from tenantry_cli.declaring import fixes  # noqa: PLC0415 - seconds, for which only --fix waits

    return {
        model_id
        for model_id, owned in of_model.items()
        if not all(fixes.untouchable(claims.get(rows[user].uid), model_id) for user in owned)
    }


def _declared(
    found: Sequence[tuple[str, Checked]],
    rows: Mapping[str, Assignment],
    claims: Mapping[str, Claim],
    manifests: Path | None,
) -> "Mapping[str, Fix]":
    from tenantry_cli.declaring import fixes  # noqa: PLC0415 - as above

    return {user: fixes.declare(result, claims.get(rows[user].uid), manifests) for user, result in found}


def _users_of_models(rows: Collection[Assignment]) -> Mapping[str, Sequence[str]]:
    """Return the users of each model that answers; of one that never loaded, its candidate's."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        model_id = row.model_id or row.candidate_id
        if model_id is not None:
            found[model_id].append(row.user_id)
    return found


def _show(found: Sequence[tuple[str, Checked]], fixed: "Mapping[str, Fix]", *, as_json: bool) -> None:
    broken = sum(bool(result.reason) for _, result in found)
    skewed = sum(bool(result.skew) and not result.reason for _, result in found)
    if as_json:
        documents = [_document(user, result, fixed.get(user)) for user, result in found]
        console.out.print_json(json.dumps(documents))
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
        for user, fix in fixed.items():
            if fix.said:
                console.out.print(f"{user}: {fix.said}", markup=False)
    if fixed:
        console.say(f"{sum(fix.is_new for fix in fixed.values()):,} fixed")
    words = f"{broken:,} of {len(found):,} tenants would not be served"
    console.say(f"{words}, {skewed:,} by another version of their library" if skewed else words)


def _document(user_id: str, result: Checked, fix: "Fix | None") -> dict[str, Any]:
    document = {
        "userId": user_id,
        "modelId": result.model_id,
        "ok": not result.reason,
        "reason": result.reason,
        "message": result.message,
        "versionSkew": result.skew,
    }
    if fix is None:
        return document
    return document | {
        "fix": {
            "message": fix.said,
            "stored": fix.source,
            "manifest": None if fix.manifest is None else str(fix.manifest),
            "command": fix.command,
        }
    }

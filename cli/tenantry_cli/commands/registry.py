"""`tenantry registry`."""

from typing import Any

import click

from tenantry.errors import RegistryMismatch
from tenantry.registry import is_migrated, open_engine
from tenantry.registry.access.granting import grant
from tenantry.registry.checking import check
from tenantry.settings import CommonSettings
from tenantry_cli import options


@click.group("registry")
def command() -> None:
    """Look after the SQL registry that operator and servers share.

    It says which model answers for which user. docs/registry.md describes backup, restore and failover.
    """


@command.command("check")
@options.registry
def checked(**given: Any) -> int:
    """Say whether the registry is sound, after a restore, a failover or an upgrade.

    Only reads. The exit status is 1 where something is wrong; the line says what to do.
    """
    settings = options.settings(CommonSettings, **given)
    engine = open_engine(settings.registry_url)
    try:
        findings = check(engine)
    finally:
        engine.dispose()
    for finding in findings:
        click.echo(f"{'ok   ' if finding.sound else 'WRONG'} {finding.text}")
    return int(not all(finding.sound for finding in findings))


@command.command("grant")
@click.option("--prefix", default="tenantry", show_default=True, help="Of the roles' names.")
@click.option(
    "--server-id",
    "server_ids",
    multiple=True,
    metavar="ID",
    help="A server that gets a role of its own, which writes no row of another one. Repeat it.",
)
@options.registry
def granted(prefix: str, server_ids: tuple[str, ...], **given: Any) -> None:
    """Make PostgreSQL roles for the operator and for servers; a server's can't change who has which model.

    Run it as a user that may make roles, and again when --server-id changes; upgrades keep the rights up to
    date. Prints the password of each new role, which is stored nowhere else.
    """
    settings = options.settings(CommonSettings, **given)
    engine = open_engine(settings.registry_url)
    try:
        if not is_migrated(engine):
            raise RegistryMismatch("the registry is empty or of another version; start an operator first")
        roles = grant(engine, prefix=prefix, server_ids=server_ids)
    finally:
        engine.dispose()
    for role in roles:
        click.echo(f"{role.name}\t{role.password or '(as before)'}")

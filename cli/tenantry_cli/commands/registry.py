"""`tenantry registry`."""

from typing import Any

import click

from tenantry.registry import open_engine
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

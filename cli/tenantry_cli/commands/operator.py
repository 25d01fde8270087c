"""`tenantry operator`."""

from pathlib import Path
from typing import Any

import click

from tenantry import logs
from tenantry_cli import options
from tenantry_operator.process import run
from tenantry_operator.settings import OperatorSettings


@click.command("operator")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.registry
@click.option(
    "--allow-mass-delete",
    is_flag=True,
    default=None,
    help="Remove tenants even where more than max(50, 5 %) disappear at once.",
)
@options.log_level
@options.lifeline
def command(folder: Path, lifeline_fd: int | None, **given: Any) -> None:
    """Keep the registry in step with the TenantModel manifests in FOLDER, until Ctrl-C.

    Every .yaml, .yml and .json file below FOLDER is read; documents of other kinds are left alone. A
    manifest that breaks a rule hurts no other tenant: `tenantry get` shows it with file and line.
    """
    settings = options.settings(OperatorSettings, **given)
    logs.configure(settings.log_level, process="operator")
    run(folder, settings, lifeline=lifeline_fd)

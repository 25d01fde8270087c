"""`tenantry operator`."""

from pathlib import Path
from typing import Any

import click

from tenantry import logs
from tenantry_cli import options
from tenantry_operator.process import run, run_on_kubernetes
from tenantry_operator.settings import OperatorSettings


@click.command("operator")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--kubernetes", is_flag=True, help="Follow the TenantModels of a cluster instead of FOLDER.")
@click.option("--namespace", help="With --kubernetes: look at this one only. [default: all]")
@click.option(
    "--lease",
    metavar="NAMESPACE/NAME",
    help="With --kubernetes: work only while holding this Lease, so that several replicas may run.",
)
@options.registry
@click.option(
    "--allow-mass-delete",
    is_flag=True,
    default=None,
    help="Remove tenants even where more than max(50, 5 %) disappear at once.",
)
@options.log_level
@options.lifeline
def command(
    folder: Path | None,
    namespace: str | None,
    lease: str | None,
    lifeline_fd: int | None,
    *,
    kubernetes: bool,
    **given: Any,
) -> None:
    """Keep the registry in step with TenantModels, until Ctrl-C.

    With FOLDER, they are the manifests in it. With --kubernetes, they are those of the cluster that
    kubectl would talk to, or of the pod's own, and their statuses are written there. A Lease for several
    replicas has to exist already. (Early: manifests for a deployment are still to come.)

    Every .yaml, .yml and .json file below FOLDER is read; documents of other kinds are left alone. A
    manifest that breaks a rule hurts no other tenant: `tenantry get` shows it with file and line.
    """
    if kubernetes is (folder is not None):
        raise click.UsageError("give either FOLDER or --kubernetes")
    settings = options.settings(OperatorSettings, **given)
    logs.configure(settings.log_level, process="operator")
    if folder is None:
        where = _lease(lease) if lease is not None else None
        run_on_kubernetes(settings, namespace=namespace, lease=where)
    else:
        run(folder, settings, lifeline=lifeline_fd)


def _lease(given: str) -> tuple[str, str]:
    namespace, _, name = given.partition("/")
    if not namespace or not name or "/" in name:
        raise click.UsageError(f"--lease must be NAMESPACE/NAME, got {given!r}")
    return namespace, name

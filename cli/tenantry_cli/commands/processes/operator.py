"""`tenantry operator`."""

from pathlib import Path
from typing import Any

import click

from tenantry.processes import logs
from tenantry_cli import options
from tenantry_operator import folder_process
from tenantry_operator.settings import OperatorSettings


@click.command("operator")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--kubernetes", is_flag=True, help="Follow the TenantModels of a cluster instead of FOLDER.")
@click.option(
    "--namespace", help="With --kubernetes: follow this namespace only. [TENANTRY_NAMESPACE; default: all]"
)
@click.option(
    "--lease",
    metavar="NAMESPACE/NAME",
    help="With --kubernetes: work only while holding this Lease, so that several replicas may run. "
    "[TENANTRY_LEASE]",
)
@click.option(
    "--probe-port",
    type=int,
    help="Serve /healthz, /readyz and /metrics on this port. [TENANTRY_PROBE_PORT; default: none]",
)
@options.registry
@click.option(
    "--allow-mass-delete",
    is_flag=True,
    default=None,
    help="Remove tenants even where more than max(50, 5 %) disappear at once, or the folder is empty.",
)
@options.log_level
@options.lifeline
def command(
    folder: Path | None,
    lifeline_fd: int | None,
    *,
    kubernetes: bool,
    **given: Any,
) -> None:
    """Keep the registry in step with TenantModels, until Ctrl-C.

    With FOLDER, TenantModels are the manifests in it. With --kubernetes, they are those of the cluster
    that kubectl would use, or of the pod's own, and their statuses are written there. A Lease for several
    replicas has to exist already; manifests/base has one.

    Every .yaml, .yml and .json file below FOLDER is read; documents of other kinds are left alone. A
    manifest that breaks a rule hurts no other tenant: `tenantry get` shows it with file and line.
    """
    if kubernetes is (folder is not None):
        raise click.UsageError("give either FOLDER or --kubernetes")
    if folder is not None and (given["namespace"] or given["lease"]):
        raise click.UsageError("--namespace and --lease need --kubernetes")
    settings = options.settings(OperatorSettings, **given)
    logs.configure(settings.log_level, process="operator")
    if folder is None:
        from tenantry_operator import cluster_process  # noqa: PLC0415 - takes a second to import

        cluster_process.run(settings)
    else:
        folder_process.run(folder, settings, lifeline=lifeline_fd)

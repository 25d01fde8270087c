"""`tenantry serve`."""

from pathlib import Path
from typing import Any

import click

from tenantry.processes import logs
from tenantry_cli import options
from tenantry_server.settings import ServerSettings


@click.command("serve")
@options.registry
@click.option("--server-id", help="Name among the servers of one registry. [default: server-0]")
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on. [default: one that the system chooses]")
@click.option("--cache-bytes", type=int, help="Bound of the model cache. [default: 512 MiB]")
@click.option(
    "--disk-cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps artifacts read from S3; servers of one machine may share it. [default: none]",
)
@click.option(
    "--drain-s",
    type=float,
    help="Seconds to go on answering after a stop, until other servers have taken over; 0: stop at once. "
    "[default: 20]",
)
@options.log_level
@click.option("--shared-fd", type=int, hidden=True)
@click.option("--pulse-fd", type=int, hidden=True)
@options.lifeline
def command(shared_fd: int | None, pulse_fd: int | None, lifeline_fd: int | None, **given: Any) -> None:
    """Run one model server until Ctrl-C.

    The server follows the registry, loads the models of its shards, and answers POST /predict/{user_id}
    for every user, by itself or through the server that holds the model. GET /healthz, /readyz and
    /metrics are for probes and Prometheus.

    When stopped, it answers until other servers have taken over its users. A second Ctrl-C ends that wait.
    """
    settings = options.settings(ServerSettings, **given)
    logs.configure(settings.log_level, process=settings.server_id)
    from tenantry_server.process import run  # noqa: PLC0415 - seconds, for which no help or error waits

    run(settings, shared_fd=shared_fd, lifeline=lifeline_fd, pulse=pulse_fd)

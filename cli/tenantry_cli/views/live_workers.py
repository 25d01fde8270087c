"""The processes in which one model server runs models, as that server says."""

import json
import urllib.error
import urllib.request
from typing import Any

import click

from tenantry.registry import RegistryReader
from tenantry_cli import asking
from tenantry_cli.views import overview

_TIMEOUT_S = 10.0


def of_server(registry: RegistryReader, server_id: str) -> dict[str, Any]:
    """Ask a server for its workers.

    Raises:
        click.ClickException: no live server has that name, it does not answer, or it has no workers.
    """
    servers = {server.server_id: server for server in overview.live_servers(registry)}
    if server_id not in servers:
        known = ", ".join(sorted(servers)) or "none"
        raise click.ClickException(f"no live server is named {server_id!r}; live servers: {known}")
    endpoint = servers[server_id].endpoint
    try:
        request = urllib.request.Request(f"{endpoint}/workers", headers=asking.credentials())  # noqa: S310
        with urllib.request.urlopen(  # noqa: S310
            request, timeout=_TIMEOUT_S, context=asking.trusted(endpoint)
        ) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise click.ClickException(
                f"{server_id} runs models in its own process (TENANTRY_WORKERS=0)"
            ) from None
        raise click.ClickException(f"{server_id} answered {error.code} at {endpoint}/workers") from None
    except OSError as error:
        reason = getattr(error, "reason", error)  # urllib wraps what the socket said
        raise click.ClickException(f"no answer from {endpoint}: {reason}") from None

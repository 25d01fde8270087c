"""Opens the port by a server's settings. Imports what it needs only where there is to be one."""

from typing import TYPE_CHECKING

from aiohttp import web

from tenantry.errors import InvalidSetting
from tenantry.processes import addresses
from tenantry.trust.tls import Tls
from tenantry_server.settings import ServerSettings

if TYPE_CHECKING:
    from tenantry_server.grpc_v2.port import Port


async def grpc_port(
    settings: ServerSettings, server: web.Server | None, secured: Tls, *, shared: bool
) -> "Port | None":
    """Open the port for gRPC; None: there is to be none.

    Args:
        server: makes the application's end of a connection.
        shared: whether other servers of this machine listen on the same port.

    Raises:
        InvalidSetting: gRPC is not installed.
        OSError: the address can't be listened on.
    """
    if settings.grpc_port is None or server is None:
        return None
    try:
        from tenantry_server.grpc_v2.asking import Application  # noqa: PLC0415 - see above
        from tenantry_server.grpc_v2.port import Port  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            f"TENANTRY_GRPC_PORT needs {error.name}: pip install 'tenantry[grpc]'"
        ) from None
    port = Port(
        Application(server),
        max_bytes=settings.max_body_bytes,
        max_arriving_bytes=settings.max_arriving_bytes,
        read_timeout_s=settings.read_timeout_s,
        shared=shared,
    )
    address = addresses.shown(settings.host, settings.grpc_port)
    await port.open(address, secured.files if secured.required else None)
    return port

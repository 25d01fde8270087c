"""The port: a gRPC server in the event loop of this process, and its certificate."""

from typing import Any

import grpc
import structlog

from tenantry.certificates import Files, signature
from tenantry.certificates import read as check
from tenantry.errors import InvalidSetting
from tenantry_server.grpc_v2.arrivals import Arrivals
from tenantry_server.grpc_v2.asking import Application
from tenantry_server.grpc_v2.service import Calls, handlers

log = structlog.get_logger(__name__)

_LARGER = 1 << 16  # what a message has beside its tensors


def _credentials(files: Files) -> grpc.ServerCredentials:
    """Return what a port shows of itself: what the files say now, or said when they could be read last."""
    seen = signature(files)

    def read() -> Any:
        assert files.cert is not None  # noqa: S101 - for the type checker
        assert files.key is not None  # noqa: S101 - as above
        return grpc.ssl_server_certificate_configuration(
            [(files.key.read_bytes(), files.cert.read_bytes())]
        )

    def changed() -> Any:
        nonlocal seen
        now = signature(files)
        if now == seen:
            return None
        try:
            check(files)
            given = read()
        except (InvalidSetting, OSError):
            return None  # the log says so for HTTP; gRPC goes on with the former ones
        seen = now
        return given

    return grpc.dynamic_ssl_server_credentials(read(), changed)


class Port:
    """A gRPC server in the event loop of this process.

    Args:
        application: answers requests of V2.
        max_bytes: of one message's tensors; a larger message is refused by gRPC itself.
        max_arriving_bytes: what messages that have not arrived whole may hold together.
        read_timeout_s: for a message to arrive, and for the handshake of a connection.
        shared: whether other servers of this machine listen on the same port.
    """

    def __init__(
        self,
        application: Application,
        *,
        max_bytes: int,
        max_arriving_bytes: int = 256 << 20,
        read_timeout_s: float = 30.0,
        shared: bool = False,
    ) -> None:
        self._application = application
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_bytes + _LARGER),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(shared)),
                ("grpc.server_handshake_timeout_ms", int(read_timeout_s * 1e3)),
            ]
        )
        most = max(1, max_arriving_bytes // max_bytes)
        arrivals = Arrivals(timeout_s=read_timeout_s, most=most)
        self._server.add_generic_rpc_handlers((handlers(Calls(application), arrivals),))

    async def open(self, address: str, files: Files | None = None) -> int:
        """Listen and answer.

        Args:
            address: host and port; port 0: one that the system chooses.
            files: the certificate and its key, read again for a new connection when they have changed;
                None: there is no TLS.

        Returns:
            the port.

        Raises:
            OSError: the address can't be listened on.
        """
        try:
            if files is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, _credentials(files))
        except RuntimeError as error:
            raise OSError(f"gRPC can't listen on {address}: {error}") from None
        await self._server.start()
        log.info("serving gRPC", address=address, port=port)
        return port

    async def close(self, grace_s: float) -> None:
        """Accept nothing more; calls under way have so many seconds to end."""
        await self._server.stop(grace_s)
        self._application.close()

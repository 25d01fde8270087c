"""What a sidecar is started with: plain values, so that the process has no library of settings in memory.

`tenantry serve` reads the settings, and then becomes the sidecar by exec: Python gives the memory of what
it has imported back in no other way. The values go through a pipe, as they hold the fleet's secret.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenantry.errors import InvalidSetting
from tenantry.trust import tls
from tenantry.trust.certificates import Files
from tenantry.trust.fleet_secrets import FleetSecrets, of_settings
from tenantry.trust.tls import Tls

if TYPE_CHECKING:
    from tenantry.manifest.limits import Limits
    from tenantry_server.settings import ServerSettings

NEAR_CACHE_BYTES = 16 << 20
"""Of a sidecar that is not told: its users are those of one application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarOptions:
    """The settings of the same names, as far as a sidecar has them."""

    server_id: str
    log_level: str
    access_log: str
    fleet_urls: list[str]
    host: str
    port: int
    socket: str | None
    probe_host: str | None
    probe_port: int | None
    near_cache_bytes: int
    secret: str | None
    secret_file: str | None
    tls_files: list[str | None]
    tls_mode: str
    max_body_bytes: int
    max_batch_rows: int
    max_arriving_bytes: int
    read_timeout_s: float
    predict_timeout_s: float
    drain_at_least_s: float
    shutdown_s: float
    limits: str
    open_lists: bool
    open_repository: bool

    @property
    def secrets(self) -> FleetSecrets:
        """The fleet's secrets, which are read again where they stand in a file.

        Raises:
            InvalidSetting: the file can't be used.
        """
        found = FleetSecrets(self.secret) if self.secret else None
        if self.secret_file is not None:
            found = of_settings(None, Path(self.secret_file))
        if found is None:
            raise InvalidSetting(_WITHOUT)
        return found

    @property
    def tls(self) -> Tls:
        """How it connects to servers.

        Raises:
            InvalidSetting: the files can't be used.
        """
        cert, key, ca = (None if name is None else Path(name) for name in self.tls_files)
        return Tls(Files(cert, key, ca), tls.Mode(self.tls_mode))

    def default_limits(self, of_servers: str = "") -> "Limits | None":
        """Return what every user is allowed where nothing was declared; None: there are no such limits.

        Args:
            of_servers: the servers' own, which hold where these settings say nothing.
        """
        if not self.limits and not of_servers:
            return None
        from tenantry.manifest.limits import Limits  # noqa: PLC0415 - 6 MiB

        return Limits.read(self.limits).over(Limits.read(of_servers))

    def hand_over(self) -> int:
        """Return a pipe, which the process after an exec has too, from which `taken_over` reads these."""
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(asdict(self)).encode())  # less than a pipe holds
        os.set_inheritable(reading, True)
        return reading


_WITHOUT = (
    "a sidecar follows the servers by their secret: set TENANTRY_FLEET_SECRET_FILE to the one of the fleet"
)


def taken_over(pipe: int) -> SidecarOptions:
    """Return what `hand_over` has written."""
    with os.fdopen(pipe, "rb") as reading:
        return SidecarOptions(**json.loads(reading.read()))


def of(settings: "ServerSettings") -> SidecarOptions:
    """Return what the settings say of a sidecar.

    Raises:
        InvalidSetting: they say what no sidecar can do.
    """
    _refuse(settings)
    near = NEAR_CACHE_BYTES
    if "near_cache_bytes" in settings.model_fields_set:
        near = settings.near_cache_bytes
    secret, file = settings.fleet_secret, settings.fleet_secret_file
    files = (settings.tls_cert, settings.tls_key, settings.tls_ca)
    return SidecarOptions(
        server_id=settings.server_id,
        log_level=settings.log_level,
        access_log=settings.access_log,
        fleet_urls=settings.fleet_urls(),
        host=settings.host,
        port=settings.port,
        socket=None if settings.socket is None else str(settings.socket),
        probe_host=settings.probe_host,
        probe_port=settings.probe_port,
        near_cache_bytes=near,
        secret=None if secret is None else secret.get_secret_value(),
        secret_file=None if file is None else str(file),
        tls_files=[None if name is None else str(name) for name in files],
        tls_mode=settings.tls.value,
        max_body_bytes=settings.max_body_bytes,
        max_batch_rows=settings.max_batch_rows,
        max_arriving_bytes=settings.max_arriving_bytes,
        read_timeout_s=settings.read_timeout_s,
        predict_timeout_s=settings.predict_timeout_s,
        drain_at_least_s=settings.drain_at_least_s,
        shutdown_s=settings.shutdown_s,
        limits=settings.limits.to_text(),
        open_lists=settings.open_lists,
        open_repository=settings.open_repository,
    )


def _refuse(settings: "ServerSettings") -> None:
    """Raise InvalidSetting where a server's settings ask for what no sidecar can do."""
    from tenantry_server.access.gate import Auth  # noqa: PLC0415 - not needed after the exec
    from tenantry_server.roles import is_loopback  # noqa: PLC0415 - as above

    if settings.auth is not Auth.OFF:
        raise InvalidSetting(
            "a sidecar has no API keys, and admits everyone who reaches it: set TENANTRY_AUTH=off for it, "
            "and keep its address and socket to one application"
        )
    if not is_loopback(settings.host):
        raise InvalidSetting(
            "a sidecar admits everyone who reaches it, so TENANTRY_HOST must be a loopback address such "
            f"as 127.0.0.1, got {settings.host!r}; TENANTRY_PROBE_PORT opens a port for probes"
        )
    if settings.fleet_secrets() is None:
        raise InvalidSetting(_WITHOUT)
    tls.of_settings(settings)

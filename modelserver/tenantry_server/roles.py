"""What a process of the model server is, and the settings of a sidecar.

| role | shards | registry | answers |
| --- | --- | --- | --- |
| server | takes its share | follows it by SQL | every request |
| sidecar | takes none | follows a model server | what it has a near copy of; else the fleet |
"""

from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from tenantry.errors import InvalidSetting
from tenantry_server.signing.settings import SignatureSettings


class Role(StrEnum):
    """What a process is to the fleet."""

    SERVER = "server"
    SIDECAR = "sidecar"


class RoleSettings(SignatureSettings):
    """Of a server's settings, its role and those of a sidecar."""

    role: Role = Field(
        default=Role.SERVER,
        description="What this process is: a model server (server), or a process beside an application "
        "that follows a server instead of the registry, and answers on loopback (sidecar).",
    )
    fleet_url: str | None = Field(
        default=None,
        description="For a sidecar, which needs it: base URLs of servers, with spaces between them, or the "
        "one of their Service. It follows one of the servers that it learns of there, and another one "
        "when that one is lost.",
    )
    socket: Path | None = Field(
        default=None,
        description="For a sidecar: a Unix socket to listen on as well, such as one in a volume that it "
        "shares with the application; only processes of its own user and group may connect. Unset: none.",
    )
    probe_host: str | None = Field(
        default=None,
        description="For a sidecar: the address of its port for probes; unset: every one of the machine.",
    )
    probe_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="For a sidecar: a port of its own for /healthz, /readyz and /metrics, as a kubelet "
        "reaches no loopback address of a pod; 0: one that the system chooses. Unset: none.",
    )

    def fleet_urls(self) -> list[str]:
        """Return where a sidecar finds the fleet.

        Raises:
            InvalidSetting: it is not said, or one of them is not a base URL.
        """
        urls = [url.rstrip("/") for url in (self.fleet_url or "").split()]
        for url in urls:
            try:
                parts = urlsplit(url)
                usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:
                usable = False
            if not usable or parts.path or parts.query or parts.fragment or parts.username is not None:
                raise InvalidSetting(
                    "TENANTRY_FLEET_URL must be base URLs such as http://tenantry.tenantry.svc, with "
                    f"spaces between them, got {self.fleet_url!r}"
                )
        if not urls:
            raise InvalidSetting(
                "TENANTRY_ROLE is sidecar: set TENANTRY_FLEET_URL to the Service of the servers, such as "
                "http://tenantry.tenantry.svc"
            )
        return urls


def is_loopback(host: str) -> bool:
    """Return whether only processes of this machine, or of this pod, reach `host`.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""How a process talks TLS: its certificate and whom it trusts, as their files have it now.

Owns when the files are read, by `certificates`. Refuses sockets. Their times are read for each new
connection, which costs a few microseconds, so a change is in force for the next one, and connections that
are open go on. What a link leads to is what counts, as Kubernetes swaps one when a Secret changes.
"""

import os
import ssl
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenantry.errors import InvalidSetting
from tenantry.trust.certificates import Contexts, Files, read, signature

if TYPE_CHECKING:  # a plain install has no library of settings
    from tenantry.processes.logs import OnChange
    from tenantry.settings import CommonSettings

CA_VARIABLE = "TENANTRY_TLS_CA"
_AGAIN_S = 1.0  # between two attempts to read files that can't be used


class Mode(StrEnum):
    """What a server with a certificate takes."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class Tls:
    """How a process talks TLS. May be shared by threads.

    Args:
        files: none of them: others are trusted as the system trusts them.
        mode: what is accepted where there is a certificate.
        clock_s: seconds, never going back.

    Raises:
        InvalidSetting: a file is missing, broken, expired or does not belong to the others.
    """

    def __init__(
        self,
        files: Files | None = None,
        mode: Mode = Mode.REQUIRED,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = Files() if files is None else files
        self._mode = mode
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._log: OnChange | None = None  # a client has files that stay, and imports no logging
        self._again_s: float | None = None  # when files that can't be used are read again
        self._seen = signature(self.files)
        self._contexts = read(self.files) if self.files.any else None

    @property
    def serves(self) -> bool:
        """Whether others may connect by TLS."""
        return self.files.cert is not None

    @property
    def required(self) -> bool:
        """Whether others have to, and this process connects to servers by TLS whatever their rows say."""
        return self.serves and self._mode is Mode.REQUIRED

    @property
    def wants_certificates(self) -> bool:
        """Whether other servers have to show a certificate."""
        return self.required and self.files.ca is not None

    @property
    def expires_s(self) -> float:
        """When the certificate in force ends, in seconds since 1970; infinite where there is none."""
        expires = self._contexts.expires if self._contexts is not None else ""
        return ssl.cert_time_to_seconds(expires) if expires else float("inf")

    def secures(self, scheme: str) -> bool:
        """Return whether a server with such an address is connected to by TLS."""
        return scheme == "https" or self.required

    def server(self) -> ssl.SSLContext:
        """Return the context for the next connection of another process."""
        context = self._current().server
        assert context is not None  # noqa: S101 - for the type checker: `serves`
        return context

    def client(self) -> ssl.SSLContext:
        """Return the context for the next connection to another process."""
        return self._current().client

    def _current(self) -> Contexts:
        contexts = self._contexts
        if contexts is not None and not self._is_due():
            return contexts
        with self._lock:
            if self._contexts is None:
                self._contexts = read(self.files)
            elif self._is_due():
                self._contexts = self._reread(self._contexts)
            return self._contexts

    def _is_due(self) -> bool:
        if signature(self.files) != self._seen:
            return True
        return self._again_s is not None and self._clock_s() >= self._again_s

    def _reread(self, former: Contexts) -> Contexts:
        self._seen = signature(self.files)
        try:
            contexts = read(self.files)
        except InvalidSetting as error:
            self._again_s = self._clock_s() + _AGAIN_S
            self._logged.warning(
                "new certificates can't be used; the former ones stay in force",
                key=str(error),
                error=str(error),
                expires=former.expires,
            )
            return former
        self._again_s = None
        self._logged.over()
        self._logged.info("certificates read", expires=contexts.expires)
        return contexts

    @property
    def _logged(self) -> "OnChange":
        if self._log is None:
            import structlog  # noqa: PLC0415 - see above

            from tenantry.processes.logs import OnChange  # noqa: PLC0415 - see above

            self._log = OnChange(structlog.get_logger(__name__))
        return self._log


def of_settings(settings: "CommonSettings") -> Tls:
    """Return how a process with these settings talks TLS.

    Raises:
        InvalidSetting: the files can't be used.
    """
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise InvalidSetting("TENANTRY_TLS_CERT and TENANTRY_TLS_KEY go together: set both, or neither")
    return Tls(Files(settings.tls_cert, settings.tls_key, settings.tls_ca), settings.tls)


def trusting(ca: str | os.PathLike[str] | None = None) -> Tls:
    """Return how a client talks TLS.

    Args:
        ca: file of the certificates that it trusts; None: the one of TENANTRY_TLS_CA, else the system's.

    Raises:
        InvalidSetting: the file is missing or broken.
    """
    path = ca or os.environ.get(CA_VARIABLE)
    return Tls(Files(ca=Path(path) if path else None))


def shows_certificate(transport: Any) -> bool:
    """Return whether the other end of a connection has shown a certificate that the CA signed."""
    return transport is not None and bool(transport.get_extra_info("peercert"))

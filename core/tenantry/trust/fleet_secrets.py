"""The secrets by which servers of a fleet know one another, and their rotation without a lost request.

They stand in a file and not in the registry: a server's SQL URL is enough to read the registry, and the
secret is against those who hold only that (see `proofs`).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tenantry.errors import InvalidSetting

if TYPE_CHECKING:  # a sidecar has read its settings before
    from pydantic import SecretStr

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0
_MOST = 4  # each costs a request of an older proof a microsecond
_MOST_BYTES = 16 << 10


class FleetSecrets:
    r"""One secret, or those of a file: the first line signs, and each line is accepted.

    Args:
        text: the secrets, one a line.
        file: from which they are read again, a second after it has changed; None: they stay.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Raises:
        ValueError: there is none, or there are too many.

    Example:
        >>> secrets = FleetSecrets("new\nold")
        >>> secrets.current, secrets.accepted
        ('new', ('new', 'old'))
    """

    def __init__(
        self, text: str, file: Path | None = None, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._accepted = _lines(text)
        self._text = text
        self._file = file
        self._clock_s = clock_s
        self._next_s = clock_s() + _LOOK_EVERY_S if file is not None else float("inf")

    @property
    def accepted(self) -> tuple[str, ...]:
        """The secrets that another process may prove to know; the first is `current`."""
        if self._clock_s() >= self._next_s:
            self._look()
        return self._accepted

    @property
    def current(self) -> str:
        """The secret with which this process proves who it is."""
        return self.accepted[0]

    def _look(self) -> None:
        self._next_s = self._clock_s() + _LOOK_EVERY_S
        if self._file is None:
            return
        try:
            text = _read(self._file)
            if text == self._text:
                return
            self._accepted = _lines(text)
        except (OSError, ValueError) as error:
            log.warning(
                "the file of the fleet's secrets can't be read; those read last hold",
                file=str(self._file),
                error=type(error).__name__,
            )
            return
        self._text = text
        log.info("the fleet's secrets were read again", secrets=len(self._accepted))


def of_settings(secret: "SecretStr | None", file: Path | None) -> FleetSecrets | None:
    """Return the secrets that the settings name; None: the fleet has none.

    Raises:
        InvalidSetting: both are set, or the file can't be used.
    """
    text = "" if secret is None else secret.get_secret_value()
    if file is None:
        return FleetSecrets(text) if text.strip() else None
    if text:
        raise InvalidSetting("set TENANTRY_FLEET_SECRET or TENANTRY_FLEET_SECRET_FILE, not both")
    try:
        return FleetSecrets(_read(file), file)
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"TENANTRY_FLEET_SECRET_FILE: {file} must hold 1 to {_MOST} secrets, one a line "
            f"({type(error).__name__})"
        ) from None


def _read(file: Path) -> str:
    with file.open(encoding="utf-8") as opened:
        return opened.read(_MOST_BYTES)


def _lines(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not 1 <= len(found) <= _MOST:
        raise ValueError("not a list of secrets")
    return found

"""Whose signatures are accepted: files that an admin names, followed while a server runs.

Reads text and compares it. Refuses to parse a key or a certificate: that happens where signatures are
verified.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from tenantry.errors import InvalidSetting
from tenantry.processes.logs import OnChange

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_MOST_BYTES = 1 << 20  # of one file
_BLOCK = r"-----BEGIN {0}-----.+?-----END {0}-----"
_KEY, _CERTIFICATE = (re.compile(_BLOCK.format(kind), re.DOTALL) for kind in ("PUBLIC KEY", "CERTIFICATE"))


@dataclass(frozen=True, slots=True)
class Trust:
    """What signatures are verified with.

    Attributes:
        keys: public keys of elliptic curves, each as PEM.
        certificates: certificates at which a signer's chain may end, each as PEM.
        sigstore: a client trust config of Sigstore, as JSON; empty: none.
        identities: who may sign by way of Sigstore: pairs of an identity and its OpenID Connect issuer.
    """

    keys: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    sigstore: str = ""
    identities: tuple[tuple[str, str], ...] = ()

    @property
    def anybody(self) -> bool:
        """Whether there is somebody whose signature would be accepted."""
        return bool(self.keys or self.certificates or (self.sigstore and self.identities))

    def gave_up(self, newer: "Trust") -> bool:
        """Return whether something that was accepted may not be any more.

        Example:
            >>> Trust(keys=("a",)).gave_up(Trust(keys=("b", "a"))), Trust(keys=("a",)).gave_up(Trust())
            (False, True)
        """
        return (
            not set(self.keys) <= set(newer.keys)
            or not set(self.certificates) <= set(newer.certificates)
            or not set(self.identities) <= set(newer.identities)
            or self.sigstore not in ("", newer.sigstore)
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `of_json` reads."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of_json(cls, given: dict[str, Any]) -> "Trust":
        """Return what `to_json` wrote, after its way through JSON."""
        pairs = tuple((str(identity), str(issuer)) for identity, issuer in given["identities"])
        return cls(tuple(given["keys"]), tuple(given["certificates"]), str(given["sigstore"]), pairs)


@dataclass(frozen=True, slots=True)
class TrustSource:
    """Where it stands, as settings name it.

    Attributes:
        keys, certificates: files, or folders of files, with : between them; None: none.
        sigstore: a file; None: none.
        identities: ``IDENTITY ISSUER``, several with commas between them; None: none.
    """

    keys: str | None = None
    certificates: str | None = None
    sigstore: Path | None = None
    identities: str | None = None

    @property
    def is_followed(self) -> bool:
        """Whether it names any file, which may change."""
        return bool(self.keys or self.certificates or self.sigstore)

    def read(self) -> Trust:
        """Read all of it.

        Raises:
            InvalidSetting: a file can't be read, or holds nothing of its kind.
        """
        sigstore = ""
        if self.sigstore is not None:
            sigstore = _text(self.sigstore, "TENANTRY_SIGNATURE_SIGSTORE")
            if not self.identities:
                raise InvalidSetting(
                    "TENANTRY_SIGNATURE_SIGSTORE needs TENANTRY_SIGNATURE_IDENTITIES: who may sign, as "
                    "'IDENTITY ISSUER'"
                )
        return Trust(
            _blocks(self.keys, _KEY, "TENANTRY_SIGNATURE_KEYS", "public key"),
            _blocks(self.certificates, _CERTIFICATE, "TENANTRY_SIGNATURE_CERTIFICATES", "certificate"),
            sigstore,
            _pairs(self.identities),
        )


class FollowedTrust:
    """What is trusted now; used on the event loop, but for `now`, which any thread may read.

    Args:
        source: read at once, and again every second.

    Attributes:
        now: what was read last; a file that can't be read any more changes nothing.
        changed: called with True where something is not trusted any more, with False where only more is.

    Raises:
        InvalidSetting: as `TrustSource.read`.
    """

    changed: Callable[[bool], None] = staticmethod(lambda _: None)

    def __init__(self, source: TrustSource) -> None:
        self._source = source
        self.now = source.read()
        self._loss = OnChange(log)

    async def run(self) -> None:
        """Follow the files until cancelled; return at once where there are none."""
        while self._source.is_followed:
            await asyncio.sleep(_EVERY_S)
            await self.read_again()

    async def read_again(self) -> None:
        """Read the files, and say what changed."""
        try:
            newer = await asyncio.to_thread(self._source.read)
        except InvalidSetting as error:
            self._loss.warning("trusted signers can't be read; those read last hold", error=str(error))
            return
        self._loss.over("trusted signers are read again")
        if newer == self.now:
            return
        gave_up = self.now.gave_up(newer)
        self.now = newer
        log.info(
            "trusted signers changed", keys=len(newer.keys), certificates=len(newer.certificates),
            identities=len(newer.identities), fewer=gave_up,
        )  # fmt: skip
        self.changed(gave_up)


def _pairs(text: str | None) -> tuple[tuple[str, str], ...]:
    pairs = [each.split() for each in (text or "").split(",") if each.strip()]
    for pair in pairs:
        if len(pair) != 2:
            raise InvalidSetting(
                f"TENANTRY_SIGNATURE_IDENTITIES: expected 'IDENTITY ISSUER', got {' '.join(pair)!r}"
            )
    return tuple((identity, issuer) for identity, issuer in pairs)


def _blocks(paths: str | None, block: re.Pattern[str], setting: str, what: str) -> tuple[str, ...]:
    found: list[str] = []
    for path in _files((paths or "").split(":"), setting):
        blocks = block.findall(_text(path, setting))
        if not blocks:
            raise InvalidSetting(f"{setting}: {path} holds no {what} in PEM")
        found += blocks
    return tuple(dict.fromkeys(found))


def _files(paths: Sequence[str], setting: str) -> Iterator[Path]:
    for path in (Path(each) for each in paths if each):
        if path.is_dir():
            try:  # a volume of Kubernetes has hidden folders, by which it changes all files at once
                yield from sorted(
                    each for each in path.iterdir() if each.is_file() and not each.name.startswith(".")
                )
            except OSError as error:
                raise InvalidSetting(f"{setting}: {path} can't be listed: {error.strerror}") from None
        else:
            yield path


def _text(path: Path, setting: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidSetting(f"{setting}: {path} can't be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise InvalidSetting(f"{setting}: {path} has more than {_MOST_BYTES} bytes")
    return data.decode(errors="replace")

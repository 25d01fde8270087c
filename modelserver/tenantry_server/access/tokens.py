"""JWTs (RFC 7519) of one issuer: verified once, and remembered until they expire or its keys change.

Needs PyJWT with cryptography: ``pip install 'tenantry[jwt]'``. Only algorithms with a public key are
accepted, and a key of the issuer is used for its own kind alone: neither ``none`` nor an HMAC with a public
key passes.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import structlog

from tenantry.errors import InvalidSetting
from tenantry.processes.logs import OnChange
from tenantry_server.access.grants import EVERYONE, Grant, users_of

log = structlog.get_logger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What may be pinned."""

_REFRESH_S = 60.0
_AGAIN_S = 5.0  # between two readings that unknown keys cause
_FETCH_S = 5.0
_MOST_KEYS_BYTES = 1 << 20
_ENTRY_BYTES = 1500  # measured: a digest, a grant, and its compiled pattern
_GROUP = re.compile(r"\$\{(\d)\}")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are accepted, and for whom.

    Attributes:
        issuer, audience: what `iss` has to be, and `aud` to hold.
        keys: a path, or an https URL, of a JWKS (RFC 7517).
        algorithms: of `ALGORITHMS`.
        claim: whose text says who the caller is.
        pattern: what that text has to match as a whole.
        users: patterns of user ids; ${1} is the first group of `pattern`, taken literally.
        admin: matches the text of admins; None: no token is an admin's.
        remembered_bytes: bound of what is remembered.
    """

    issuer: str
    audience: str
    keys: str
    algorithms: Sequence[str] = ("RS256", "ES256")
    claim: str = "sub"
    pattern: re.Pattern[str] = re.compile("(.+)")
    users: Sequence[str] = ("${1}",)
    admin: re.Pattern[str] | None = None
    remembered_bytes: int = 16 << 20

    def grant(self, claims: dict[str, Any]) -> Grant | None:
        """Return what these verified claims allow; None: nothing."""
        text, until_s = claims.get(self.claim), float(claims["exp"])
        if not isinstance(text, str):
            return None
        if self.admin is not None and self.admin.fullmatch(text):
            return Grant(EVERYONE, admin=True, until_s=until_s, all_users=True)
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        return Grant(re.compile("|".join(_filled(each, found) for each in self.users)), until_s=until_s)


def _filled(users: str, found: re.Match[str]) -> str:
    """Return a pattern of user ids as an expression; what a token says is never a wildcard in it."""
    parts = _GROUP.split(users)  # text, number of a group, text, …
    return "".join(
        re.escape(found[int(part)] or "") if number % 2 else users_of([part]).pattern
        for number, part in enumerate(parts)
    )


class Tokens:
    """Verifies tokens.

    Args:
        rules: which are accepted.
        read_keys: returns the bytes of the JWKS; blocks.

    Raises:
        InvalidSetting: PyJWT is not installed, or an algorithm may not be pinned.
    """

    def __init__(self, rules: TokenRules, read_keys: Callable[[str], bytes] | None = None) -> None:
        try:
            import jwt  # noqa: PLC0415 - an extra
            import jwt.algorithms  # noqa: PLC0415 - as above
        except ModuleNotFoundError:
            raise InvalidSetting("TENANTRY_JWT_ISSUER needs PyJWT: pip install 'tenantry[jwt]'") from None
        wrong = [name for name in rules.algorithms if name not in ALGORITHMS]
        if wrong or not rules.algorithms or not jwt.algorithms.has_crypto:
            raise InvalidSetting(
                f"TENANTRY_JWT_ALGORITHMS: choose from {', '.join(ALGORITHMS)}, got {wrong}; "
                "and have cryptography installed: pip install 'tenantry[jwt]'"
            )
        self._jwt = jwt
        self._rules = rules
        self._read_keys = read_keys or _read
        self._raw: bytes | None = None
        self._keys: dict[str | None, Any] = {}
        self._tried_s = float("-inf")
        self._reading = asyncio.Lock()
        self._loss = OnChange(log)
        self._remembered: dict[bytes, Grant] = {}
        self._most = max(1, rules.remembered_bytes // _ENTRY_BYTES)

    def remembered(self, digest: bytes) -> Grant | None:
        """Return what a token with this SHA-256 allows; None: it was not verified, or long ago."""
        return self._remembered.get(digest)

    async def verify(self, token: str) -> Grant | None:
        """Verify a token; its key is looked for again where it is unknown. None: it is not accepted."""
        try:
            kid = self._jwt.get_unverified_header(token).get("kid")
        except self._jwt.PyJWTError:
            return None
        key = self._keys.get(kid)
        if key is None:
            await self._refresh(_AGAIN_S)
            key = self._keys.get(kid)
        grant = None if key is None else self._verified(token, key)
        if grant is not None:
            while len(self._remembered) >= self._most:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[sha256(token.encode()).digest()] = grant
        return grant

    async def follow(self) -> None:
        """Read the keys of the issuer every minute, until cancelled."""
        while True:
            await self._refresh(0.0)
            await asyncio.sleep(_REFRESH_S)

    def _verified(self, token: str, key: Any) -> Grant | None:
        if key.algorithm_name not in self._rules.algorithms:
            return None
        try:
            claims = self._jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm_name],
                issuer=self._rules.issuer,
                audience=self._rules.audience,
                options={"require": ["exp", "iss", "aud"]},
            )
            return self._rules.grant(claims)
        except (self._jwt.PyJWTError, ValueError, OverflowError):
            return None

    async def _refresh(self, at_least_s: float) -> None:
        async with self._reading:
            if time.monotonic() - self._tried_s < at_least_s:
                return
            self._tried_s = time.monotonic()
            try:
                raw = await asyncio.to_thread(self._read_keys, self._rules.keys)
                if raw != self._raw:
                    self._keys = self._parsed(raw)
                    self._raw = raw
                    self._remembered.clear()  # a key that is gone vouches for nobody
            except (OSError, ValueError, self._jwt.PyJWTError) as error:
                self._loss.warning(
                    "keys of the tokens' issuer can't be read; those read last hold",
                    error=type(error).__name__,
                )
            else:
                self._loss.over("keys of the tokens' issuer are read again")

    def _parsed(self, raw: bytes) -> dict[str | None, Any]:
        found: dict[str | None, Any] = {}
        for key in self._jwt.PyJWKSet.from_json(raw.decode()).keys:
            if key.algorithm_name in ALGORITHMS and key.public_key_use in (None, "sig"):
                found[key.key_id] = key
        return found


def _read(where: str) -> bytes:
    if not where.startswith("https://"):
        return Path(where).read_bytes()
    with urlopen(Request(where), timeout=_FETCH_S) as answer:  # noqa: S310 - https alone, as checked above
        if not answer.url.startswith("https://"):
            raise ValueError("it was redirected to a page without TLS")
        content: bytes = answer.read(_MOST_KEYS_BYTES)
        return content

"""API keys of callers: made, listed and revoked by admins, and followed by servers.

The registry holds the SHA-256 of a key. A key has 256 random bits, so its digest can't be guessed back, and
needs no salt and no slow hash.
"""

import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, or_, select

from tenantry.errors import InvalidSetting
from tenantry.registry import schema as t
from tenantry.registry.engine import now_s, reading, writing
from tenantry.registry.following.polling import Poll
from tenantry.registry.sql import upsert

PREFIX = "tnt_"
"""What every key begins with, for scanners that look for secrets in files."""

_PATTERN = re.compile(r"[A-Za-z0-9._~@:+*-]{1,253}")
_POLL = "SELECT mark FROM key_marks WHERE id = 1"
_MARK_BITS = 62


class Scope(StrEnum):
    """What a key may do for its users."""

    PREDICT = "predict"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, without the secret.

    Attributes:
        key_id: names it; the key itself begins with it.
        digest: SHA-256 of the key, in hexadecimal.
        users: patterns of user ids, in which * is any text.
        created_at, expires_at: seconds since the epoch, by the database's clock; None: never.
    """

    key_id: str
    digest: str
    users: tuple[str, ...]
    scope: Scope
    created_at: float
    expires_at: float | None


class KeyBook:
    """The table of keys.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._poll: Poll | None = None

    def all(self) -> list[ApiKey]:
        """Return every key that was not revoked, expired ones too, in the order in which they were made."""
        query = select(t.api_keys).order_by(t.api_keys.c.created_at, t.api_keys.c.key_id)
        with reading(self._engine) as connection:
            return [_key(row) for row in connection.execute(query)]

    def find(self, key: str) -> ApiKey | None:
        """Return what stands for a key that is neither revoked nor expired; None: it is unknown."""
        asked = sha256(key.encode(errors="surrogateescape")).hexdigest()
        query = select(t.api_keys).where(
            t.api_keys.c.digest == asked,
            or_(t.api_keys.c.expires_at.is_(None), t.api_keys.c.expires_at > now_s(self._engine)),
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else _key(row)

    def mark(self) -> int:
        """Return a number that is another one after every change of a key; cheap enough to ask often."""
        if self._poll is None:
            self._poll = Poll(self._engine, _POLL)
        return int(self._poll.row()[0])

    def create(self, users: Sequence[str], scope: Scope, expires_s: float | None) -> str:
        """Make a key and return it; it can't be shown again, as the registry keeps only its hash.

        Args:
            users: patterns of user ids, in which * is any text.
            expires_s: seconds from now; None: never.

        Raises:
            InvalidSetting: a pattern is not one.
        """
        for pattern in users:
            if not _PATTERN.fullmatch(pattern):
                raise InvalidSetting(
                    f"{pattern!r} is not a pattern of user ids: use letters, digits, * and . _ ~ @ : + -"
                )
        key_id = secrets.token_hex(4)
        key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
        now = now_s(self._engine)
        row: dict[str, Any] = {
            "key_id": key_id,
            "digest": sha256(key.encode()).hexdigest(),
            "users": " ".join(users),
            "scope": scope.value,
            "created_at": now,
            "expires_at": None if expires_s is None else now + expires_s,
        }
        with writing(self._engine) as connection:
            connection.execute(insert(t.api_keys).values(**row))
            _changed(connection)
        return key

    def revoke(self, key_ids: Collection[str]) -> list[str]:
        """Remove keys, and return those of them that were there; servers follow within a poll."""
        asked = t.api_keys.c.key_id.in_(list(key_ids))
        with writing(self._engine) as connection:
            known = list(connection.execute(select(t.api_keys.c.key_id).where(asked)).scalars())
            connection.execute(delete(t.api_keys).where(asked))
            _changed(connection)
        return known


def _changed(connection: Connection) -> None:
    row = {"id": 1, "mark": secrets.randbits(_MARK_BITS)}
    connection.execute(upsert(connection.engine, t.key_marks), [row])


def _key(row: Any) -> ApiKey:
    users = tuple(row.users.split())
    return ApiKey(row.key_id, row.digest, users, Scope(row.scope), row.created_at, row.expires_at)

"""Callers with keys, without a registry."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from tenantry.registry import ApiKey, Scope
from tenantry_server.access.gate import Gate
from tenantry_server.access.hops import Hops
from tenantry_server.access.keyring import KeyRing
from tenantry_server.access.tokens import Tokens


class Keys:
    """Keys by their secret, with the patterns of users; those that begin with "admin" are admins'."""

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        self.keys = dict(keys)

    def mark(self) -> int:
        return hash(frozenset(self.keys))

    def all(self) -> list[ApiKey]:
        return [
            ApiKey(
                "id",
                sha256(key.encode()).hexdigest(),
                tuple(users),
                Scope.ADMIN if key.startswith("admin") else Scope.PREDICT,
                0.0,
                None,
            )
            for key, users in self.keys.items()
        ]


def gate_of(
    keys: Mapping[str, Sequence[str]],
    hops: Hops | None = None,
    tokens: Tokens | None = None,
    *,
    wants_certificates: bool = False,
) -> Gate:
    """A gate that asks for one of these keys."""
    ring = KeyRing(Keys(keys))
    ring.read()
    return Gate(ring, tokens, hops, wants_certificates=wants_certificates)


def shown(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {key}"}

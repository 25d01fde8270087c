"""The verdict on one request, before anything of a tenant is touched.

The fast path and the application ask the same gate. A verdict depends on the caller and on the name of the
user alone, never on whether that user exists: so it takes the same time, and says the same, either way.
"""

import time
from collections.abc import Sequence
from enum import Enum, StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from tenantry.errors import Forbidden, RegistryUnavailable, Unauthenticated
from tenantry_server.access.grants import Grant
from tenantry_server.access.hops import Hops

if TYPE_CHECKING:
    from tenantry_server.access.keyring import KeyRing
    from tenantry_server.access.tokens import Tokens

_SCHEME = "bearer "
_LONGEST = 8 << 10  # of a credential
_LONGEST_KEPT = 2 << 10
_DIGESTS = 1024  # that are kept by the text of their headers: to compute one takes 1 us; 2 MiB at most


class Auth(StrEnum):
    """Whether callers have to show who they are."""

    OFF = "off"
    REQUIRED = "required"


class Need(Enum):
    """What a route asks of its caller."""

    NOTHING = "nothing"  # probes
    CALLER = "caller"  # any key or token
    USER = "user"  # one that covers the user
    USERS = "users"  # any key or token; the handler judges each user that the body names
    OPERATE = "operate"  # an admin's that covers the user
    LIST = "list"  # an admin's for every user: the answer names them all
    ADMIN = "admin"  # the same
    PEER = "peer"  # a server of this fleet


class Gate:
    """Judges requests.

    Args:
        keys: API keys; None: nobody has to show anything.
        tokens: JWTs; None: none is accepted.
        hops: checks requests of other servers; None: none is believed.
        open_lists, open_repository: what anyone may ask where `keys` is None.
        wants_certificates: whether other servers have to show a certificate.

    Attributes:
        required: whether callers have to show who they are.
        hops, wants_certificates: as given.
    """

    def __init__(
        self,
        keys: "KeyRing | None" = None,
        tokens: "Tokens | None" = None,
        hops: Hops | None = None,
        *,
        open_lists: bool = False,
        open_repository: bool = False,
        wants_certificates: bool = False,
    ) -> None:
        self.required = keys is not None
        self.hops = hops
        self.wants_certificates = wants_certificates
        self._digests: dict[str | None, bytes] = {}
        self._keys = keys
        self._tokens = tokens
        self._open = {Need.LIST: open_lists, Need.OPERATE: open_repository}

    @property
    def names_users(self) -> bool:
        """Whether answers may name users: lists are open, or for admins alone, as all that is not named."""
        return self.required or self._open[Need.LIST]

    @property
    def ready(self) -> bool:
        """Whether it can judge: the keys were read."""
        return self._keys is None or self._keys.was_read

    def admits(self, authorization: str | None, user_id: str) -> bool:
        """Return whether a prediction may be answered at once; False: the application finds out."""
        if self._keys is None:
            return True
        digest = self._digests.get(authorization) or self._digest(authorization)
        grant = self._granted(digest)
        return (
            grant is not None and grant.until_s > time.time() and grant.users.fullmatch(user_id) is not None
        )

    def is_hop(self, method: str, target: str, length: str, proofs: Sequence[str]) -> bool:
        """Return whether another server of this fleet sent the request, and so has authorised it."""
        if self.hops is None or len(proofs) != 1:
            return False
        return self.hops.holds(
            method.encode(),
            target.encode("utf-8", "surrogateescape"),
            length.encode("utf-8", "surrogateescape"),
            proofs[0].encode("utf-8", "surrogateescape"),
        )

    def judge_open(self, need: Need) -> None:
        """Refuse what nobody may ask where callers show nothing.

        Raises:
            Forbidden: the settings keep it closed.
        """
        if not self._open.get(need, True):
            name = "TENANTRY_OPEN_LISTS" if need is Need.LIST else "TENANTRY_OPEN_REPOSITORY"
            raise Forbidden(
                f"this is closed; set {name}=true to open it to everyone, or TENANTRY_AUTH=required"
            )

    async def caller(self, authorization: Sequence[str]) -> Grant:
        """Return what the caller may do.

        Args:
            authorization: the values of each Authorization header.

        Raises:
            Unauthenticated: there is no valid key or token.
            RegistryUnavailable: the keys were not read yet.
        """
        if self._keys is None or not self._keys.was_read:
            raise RegistryUnavailable("this server has not read the API keys yet")
        if len(authorization) != 1:
            problem = "two Authorization headers" if authorization else "no key or token"
            raise Unauthenticated(problem)
        secret = _bearer(authorization[0])
        grant = self._granted(self._digest(authorization[0]))
        if grant is None and self._tokens is not None and secret is not None:
            grant = await self._tokens.verify(secret)
        if grant is None or not grant.valid:
            raise Unauthenticated("the key or token is unknown, expired or revoked")
        return grant

    def judge(self, grant: Grant, need: Need, user_id: str | None) -> None:
        """Refuse what is not for this caller.

        Args:
            user_id: whom the request is for; None: nobody, or its handler will refuse it as broken.

        Raises:
            Forbidden: it is not.
        """
        if need in (Need.LIST, Need.ADMIN, Need.PEER):
            if need is Need.PEER or not (grant.admin and grant.all_users):
                raise Forbidden("this needs an admin's key or token for every user")
        elif need in (Need.USER, Need.OPERATE):
            if user_id is not None and not grant.covers(user_id):
                raise Forbidden("the key or token is not for this user")
            if need is Need.OPERATE and not grant.admin:
                raise Forbidden("this needs a key or token with scope admin")

    def _digest(self, authorization: str | None) -> bytes:
        """Return the SHA-256 of the credential in an Authorization header; empty: there is none."""
        secret = _bearer(authorization)
        if secret is None:
            return b""
        digest = sha256(secret.encode("utf-8", "surrogateescape")).digest()
        if len(self._digests) >= _DIGESTS:
            self._digests.clear()
        if len(secret) <= _LONGEST_KEPT:
            self._digests[authorization] = digest
        return digest

    def _granted(self, digest: bytes) -> Grant | None:
        """Return the grant of a key, or of a token that was verified before."""
        if self._keys is None:
            return None
        grant = self._keys.find(digest)
        if grant is None and self._tokens is not None:
            grant = self._tokens.remembered(digest)
        return grant


def _bearer(authorization: str | None) -> str | None:
    """Return the credential of an Authorization header; None: it has another form."""
    if authorization is None or len(authorization) > _LONGEST:
        return None
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return authorization[len(_SCHEME) :].strip(" ") or None

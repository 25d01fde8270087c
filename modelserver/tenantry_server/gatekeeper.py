"""Makes the gate of a server by its settings, and keeps what it judges by up to date."""

import asyncio
import re
from urllib.parse import urlsplit

from sqlalchemy import Engine

from tenantry.errors import InvalidSetting
from tenantry.registry import KeyBook
from tenantry_server.access.gate import Auth, Gate
from tenantry_server.access.hops import Hops
from tenantry_server.access.keyring import KeyRing
from tenantry_server.access.tokens import TokenRules, Tokens
from tenantry_server.settings import ServerSettings


class Gatekeeper:
    """The gate, and what has to run beside it.

    Args:
        endpoint: base URL under which peers reach this server.
        wants_certificates: whether they have to show a certificate.

    Raises:
        InvalidSetting: the settings contradict each other.

    Attributes:
        gate: judges requests.
        hops: signs requests to peers; None: the fleet has no secret.
    """

    def __init__(
        self, settings: ServerSettings, engine: Engine, *, endpoint: str, wants_certificates: bool = False
    ) -> None:
        secrets = settings.fleet_secrets()
        self.hops = None if secrets is None else Hops(secrets, urlsplit(endpoint).netloc)
        self._poll_s = settings.poll_s
        self._keys: KeyRing | None = None
        self._tokens: Tokens | None = None
        if settings.auth is Auth.REQUIRED:
            if self.hops is None:
                raise InvalidSetting(
                    "TENANTRY_AUTH=required needs TENANTRY_FLEET_SECRET, the same for operator and "
                    "servers: servers pass requests on, and anyone could pose as a server"
                )
            self._keys = KeyRing(KeyBook(engine))
            rules = _rules(settings)
            self._tokens = None if rules is None else Tokens(rules)
        self.gate = Gate(
            self._keys,
            self._tokens,
            self.hops,
            open_lists=settings.open_lists,
            open_repository=settings.open_repository,
            wants_certificates=wants_certificates,
        )

    async def run(self) -> None:
        """Follow the keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._keys is not None:
                group.create_task(self._keys.follow(self._poll_s))
            if self._tokens is not None:
                group.create_task(self._tokens.follow())


def _rules(settings: ServerSettings) -> TokenRules | None:
    """Return which tokens are accepted; None: none.

    Raises:
        InvalidSetting: a part is missing, or is not an expression.
    """
    if settings.jwt_issuer is None:
        return None
    if settings.jwt_audience is None or settings.jwt_keys is None:
        raise InvalidSetting("TENANTRY_JWT_ISSUER needs TENANTRY_JWT_AUDIENCE and TENANTRY_JWT_KEYS")
    pattern = _expression("TENANTRY_JWT_CLAIM_PATTERN", settings.jwt_claim_pattern)
    named = [int(number) for number in re.findall(r"\$\{(\d)\}", settings.jwt_users)]
    if max(named, default=0) > pattern.groups:
        raise InvalidSetting(
            f"TENANTRY_JWT_USERS names group {max(named)}, and TENANTRY_JWT_CLAIM_PATTERN has "
            f"{pattern.groups}"
        )
    admins = settings.jwt_admins
    return TokenRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        keys=settings.jwt_keys,
        algorithms=settings.jwt_algorithms.split(),
        claim=settings.jwt_claim,
        pattern=pattern,
        users=settings.jwt_users.split(),
        admin=None if admins is None else _expression("TENANTRY_JWT_ADMINS", admins),
        remembered_bytes=settings.jwt_cache_bytes,
    )


def _expression(name: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidSetting(f"{name} is not a regular expression: {error}") from None

"""The API keys that are in force, read from the registry whenever one changes."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.processes.logs import OnChange
from tenantry.registry import ApiKey, Scope
from tenantry_server.access.grants import Grant, users_of

log = structlog.get_logger(__name__)


class Keys(Protocol):
    """Where keys are read; blocks, and raises RegistryUnavailable."""

    def mark(self) -> int:
        """Return a number that is another one after every change."""

    def all(self) -> Sequence[ApiKey]:
        """Return every key."""


class KeyRing:
    """Grants by the digest of a key.

    While the registry does not answer, the keys that were read last hold.

    Args:
        keys: where they are read.

    Attributes:
        find: returns what the key with this SHA-256 allows; None: no key has it.
        was_read: whether they were read once.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._mark: int | None = None
        self.find = dict[bytes, Grant]().get
        self.was_read = False

    def read(self) -> None:
        """Read the keys again where one has changed.

        Raises:
            RegistryUnavailable: the database did not answer.
        """
        mark = self._keys.mark()  # before the keys: a change in between is read at the next time
        if mark == self._mark:
            return
        self.find = {bytes.fromhex(key.digest): _grant(key) for key in self._keys.all()}.get
        self._mark = mark
        self.was_read = True

    async def follow(self, poll_s: float) -> None:
        """Read them every `poll_s` seconds, until cancelled."""
        loss = OnChange(log)
        pool = ThreadPoolExecutor(1, "api-keys")
        try:
            while True:
                try:
                    await asyncio.get_running_loop().run_in_executor(pool, self.read)
                    loss.over("API keys are read again")
                except RegistryUnavailable as error:
                    loss.warning("API keys can't be read; those read last hold", error=str(error))
                await asyncio.sleep(poll_s)
        finally:
            pool.shutdown(wait=False)


def _grant(key: ApiKey) -> Grant:
    until_s = float("inf") if key.expires_at is None else key.expires_at
    return Grant(users_of(key.users), key.scope is Scope.ADMIN, until_s, "*" in key.users)

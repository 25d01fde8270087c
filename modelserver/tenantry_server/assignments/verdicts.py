"""Asks the registry why no version of a user's model has loaded, where a request fails because of that.

While the operator or a server is at work, a client should retry. Where a person must act, a retry is in
vain, and the answer has the operator's words.
"""

import asyncio

from cachetools import TTLCache

from tenantry.errors import ModelNotReady, ModelStalled, RegistryUnavailable
from tenantry.manifest.status import State, Status
from tenantry.registry import ServerRegistry

_REMEMBERED_S = 1.0  # requests of one user in this time cost one question
_MOST_USERS = 1000


class Verdicts:
    """What the operator says of users whose model never loaded; used on the event loop.

    Args:
        registry: has the status of every TenantModel.
    """

    def __init__(self, registry: ServerRegistry) -> None:
        self._registry = registry
        self._asked: TTLCache[str, asyncio.Future[Status | None]] = TTLCache(_MOST_USERS, _REMEMBERED_S)

    async def explained(self, error: ModelNotReady) -> ModelNotReady:
        """Return the error to answer with: the same, or one that says why a retry is in vain."""
        asked = self._asked.get(error.user_id)
        if asked is None:
            asked = asyncio.ensure_future(asyncio.to_thread(self._status, error.user_id))
            self._asked[error.user_id] = asked
        status = await asyncio.shield(asked)
        if status is None or status.state is not State.STALLED:
            return error
        return ModelStalled(error.user_id, status.reason, status.text)

    def _status(self, user_id: str) -> Status | None:
        try:
            return self._registry.status_of(user_id)
        except RegistryUnavailable:
            return None

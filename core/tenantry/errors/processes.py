"""Errors about a process, its settings, and its registry."""

from typing import ClassVar

from tenantry.errors.base import TenantryError


class RegistryUnavailable(TenantryError):
    """The SQL registry did not answer."""

    reason: ClassVar[str] = "RegistryUnavailable"
    retryable: ClassVar[bool] = True


class HistoryChanged(TenantryError):
    """The registry lost commits that this process has acted on: what it knows is of another history."""

    reason: ClassVar[str] = "HistoryChanged"
    retryable: ClassVar[bool] = True

    def __init__(self, known: str, found: str) -> None:
        super().__init__(
            f"the registry's history has changed (here: {known}, there: {found}), as after "
            "a restore or a failover that lost commits; everything is read again"
        )


class LeaseLost(TenantryError):
    """The request wants fresh knowledge only, and this server's may be old."""

    reason: ClassVar[str] = "LeaseLost"
    retryable: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(
            "this server has lost touch with the registry, and the request asks for fresh knowledge "
            "only (Tenantry-Fresh); ask another server, or again shortly"
        )


class RegistryMismatch(TenantryError):
    """The registry answers, and is not the one that this process can work with."""

    reason: ClassVar[str] = "RegistryMismatch"


class ServerIdTaken(TenantryError):
    """Another model server took this one's name; each would acknowledge for the other, against Ready."""

    reason: ClassVar[str] = "ServerIdTaken"

    def __init__(self, server_id: str, endpoint: str) -> None:
        super().__init__(
            f"another server at {endpoint} has taken the name {server_id!r}, so this one ends; "
            "give each its own --server-id (TENANTRY_SERVER_ID)"
        )


class WorkersUnavailable(TenantryError):
    """This server has no worker process to load or run a model in."""

    reason: ClassVar[str] = "WorkersUnavailable"
    retryable: ClassVar[bool] = True

    def __init__(self, problem: str) -> None:
        super().__init__(f"no worker process can take the model: {problem}; it will be retried")


class InvalidSetting(TenantryError):
    """A setting breaks its rule; the message names it, and what was seen."""

    reason: ClassVar[str] = "InvalidSetting"


class LeadershipLost(TenantryError):
    """Another operator took over; every later write of this one must be refused."""

    reason: ClassVar[str] = "LeadershipLost"

    def __init__(self, held_epoch: int, current_epoch: int) -> None:
        super().__init__(
            f"another operator leads since epoch {current_epoch}, this one held {held_epoch}; "
            "nothing was written"
        )

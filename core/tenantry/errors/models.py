"""A model that can't be kept or called here: memory, and processes that it ended."""

from typing import ClassVar, Self

from tenantry.errors.base import TenantryError


class ModelTooLarge(TenantryError):
    """The loaded model does not fit the whole cache, or its load the memory that the server may take."""

    reason: ClassVar[str] = "ModelTooLarge"

    def __init__(self, model_id: str, size_bytes: int, capacity_bytes: int) -> None:
        super().__init__(
            f"{model_id} takes {size_bytes} bytes in memory, the cache holds {capacity_bytes}; "
            "raise TENANTRY_CACHE_BYTES or publish a smaller model"
        )

    @classmethod
    def to_load(cls, uri: str, needed_bytes: int, available_bytes: int) -> Self:
        """Return the error of a load that was not begun, as it would take more memory than there is."""
        error = cls.__new__(cls)
        TenantryError.__init__(
            error,
            f"loading {uri} takes about {needed_bytes >> 20} MiB, and the server may take "
            f"{available_bytes >> 20} MiB more; raise its memory limit, lower TENANTRY_CACHE_BYTES, or "
            "publish a smaller model",
        )
        return error


class MemoryTaken(TenantryError):
    """Loading the model would take more memory than the server can have now."""

    reason: ClassVar[str] = "MemoryTaken"
    retryable: ClassVar[bool] = True
    retry_after_s = 1.0

    def __init__(self, uri: str, needed_bytes: int, available_bytes: int) -> None:
        super().__init__(
            f"loading {uri} takes about {needed_bytes >> 20} MiB, and the server may take "
            f"{available_bytes >> 20} MiB more now; it will be retried"
        )


class ModelCrashed(TenantryError):
    """The model ended the process that it ran in. No other model is harmed by it.

    Args:
        how: what was done with it, and how the process ended.
        strikes: how often it did so lately on this server; the first time, loading it is tried once more.
    """

    reason: ClassVar[str] = "ModelCrashed"

    def __init__(self, uri: str, how: str, *, strikes: int = 0) -> None:
        ended = f"ended the process that ran it ({how})"
        super().__init__(f"{uri} {ended}; run it where it was trained, and publish a version that works")
        self.strikes = strikes
        self._ended = ended

    @property
    def for_clients(self) -> str:
        """What happened, and not to which artifact."""
        return f"the model {self._ended}"


class ModelQuarantined(TenantryError):
    """The model ended processes again and again, so it is not tried for a while."""

    reason: ClassVar[str] = "ModelQuarantined"
    retryable: ClassVar[bool] = True

    def __init__(self, uri: str, how: str, wait_s: float) -> None:
        ended = (
            f"ended the process that ran it again and again (last: {how}), so it is left alone for a while"
        )
        super().__init__(f"{uri} {ended}; publish a version that works")
        self.retry_after_s = wait_s
        self._ended = ended

    @property
    def for_clients(self) -> str:
        """What happened, and not to which artifact."""
        return f"the model {self._ended}"

"""The root of the errors that Tenantry raises on purpose."""

from typing import ClassVar


class TenantryError(Exception):
    """An error whose message is written for the person who must act on it.

    Attributes:
        retry_after_s: seconds until another try makes sense; None: not known.
    """

    reason: ClassVar[str] = "Error"
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None

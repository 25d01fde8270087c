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

    def __init__(self, message: str = "") -> None:
        super().__init__(bounded(message))


def bounded(text: str, most: int = 2000) -> str:
    """Return a text that may come from a stranger, at most so many characters of it and how many more.

    Example:
        >>> bounded("spam " * 1000, 9)
        'spam spam… (4,991 more characters)'
    """
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"

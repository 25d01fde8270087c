"""The root of the errors that Tenantry raises on purpose."""

from typing import ClassVar


class TenantryError(Exception):
    """An error whose message is written for the person who must act on it.

    Attributes:
        retry_after_s: seconds until another try makes sense; None: not known.
        model_id: the exact model that failed, for logs alone; None: not known, or none did.
    """

    reason: ClassVar[str] = "Error"
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None
    model_id: str | None = None

    def __init__(self, message: str = "") -> None:
        super().__init__(bounded(message))

    @property
    def for_clients(self) -> str:
        """The message without what only admins are told, such as where an artifact lies."""
        return str(self)


def bounded(text: str, most: int = 2000) -> str:
    """Return a text that may come from a stranger, its beginning and its end if it is longer than `most`.

    Example:
        >>> bounded("spam " * 1000 + "eggs", 20)
        'spam spam spam … (4,984 characters) … eggs'
    """
    if len(text) <= most:
        return text
    last = most // 4
    return f"{text[: most - last]}… ({len(text) - most:,} characters) …{text[-last:]}"

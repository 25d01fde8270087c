"""Errors that speak to the person who publishes a model."""

from typing import ClassVar

from tenantry.errors.base import TenantryError


class NotPublished(TenantryError):
    """Nothing was stored or declared: what was asked for can't be done, or would undo something.

    Args:
        what: the address or the file that it is about.
        problem: what was seen, and what to do.
    """

    reason: ClassVar[str] = "NotPublished"

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}; nothing was published")

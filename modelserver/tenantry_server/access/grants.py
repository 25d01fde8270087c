"""What a verified key or token allows."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

EVERYONE = re.compile(".*", re.DOTALL)
"""Matches every user id."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one caller may do.

    Attributes:
        users: matches the ids of the users that the caller may ask for.
        admin: whether the caller may load and unload their models.
        until_s: when it ends, in seconds since the epoch.
        all_users: whether that is every user; with `admin`, what is of no single user is allowed too.
    """

    users: re.Pattern[str]
    admin: bool = False
    until_s: float = float("inf")
    all_users: bool = False

    @property
    def valid(self) -> bool:
        """Whether it has not ended."""
        return self.until_s > time.time()

    def covers(self, user_id: str) -> bool:
        """Return whether a user is among those of this grant."""
        return self.users.fullmatch(user_id) is not None


def users_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return what matches any of these patterns: * is any text, everything else is itself.

    Example:
        >>> users_of(["store-*", "ann"]).fullmatch("store-1.b") is not None
        True
        >>> users_of(["store-1.b"]).fullmatch("store-1xb") is None
        True
    """
    return re.compile("|".join(".*".join(map(re.escape, each.split("*"))) for each in patterns), re.DOTALL)

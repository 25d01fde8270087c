"""What TenantModels declare in `spec.limits`, for those users who have any."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenantry.manifest.limits import Limits


class DeclaredLimits(dict[str, "Limits"]):
    """Limits by user id; used on the event loop.

    Example:
        >>> limits = DeclaredLimits()
        >>> limits.declare("ann", '{"rows": 5}')
        >>> limits["ann"].rows
        5
        >>> limits.declare("ann", "")
        >>> limits
        {}
    """

    def declare(self, user_id: str, words: str) -> None:
        """Put in force what a row of the registry says of a user; nothing: the user has no limits."""
        if words:
            from tenantry.manifest.limits import Limits  # noqa: PLC0415 - 6 MiB; in many fleets nobody has any

            self[user_id] = Limits.read(words)
        else:
            self.pop(user_id, None)

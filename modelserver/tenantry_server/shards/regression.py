"""Whether a server that starts can't load what other servers have in memory: then an upgrade should stop.

Only failures that this server itself may be to blame for count, such as another version of a library, and
only models that another live server has in memory now. An artifact that is gone is gone for all servers.
"""

from collections.abc import Collection, Mapping

from tenantry.errors import AnswersDiffer, ArtifactInvalid, ModelCrashed, ModelTooLarge

_SHARE = 0.01  # of the models that it tried to load
_AT_LEAST = 2  # one tenant holds up nobody's upgrade


def unreadable(errors: Mapping[str, Exception]) -> set[str]:
    """Return the users whose model may be well, and can't be loaded by this server."""
    blame = (AnswersDiffer, ArtifactInvalid, ModelCrashed, ModelTooLarge)
    return {user_id for user_id, error in errors.items() if isinstance(error, blame)}


def is_one(tried: int, worse: Collection[str]) -> bool:
    """Return whether so many models are worse here than elsewhere that this server should not be ready.

    Example:
        >>> is_one(13, ["ann", "bob"]), is_one(13, ["ann"]), is_one(1000, ["ann", "bob"])
        (True, False, False)
    """
    return len(worse) >= max(_AT_LEAST, tried * _SHARE)

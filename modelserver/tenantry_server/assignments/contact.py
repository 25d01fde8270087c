"""This server's contact with the registry: may what it read be trusted now?

| contact | means | so a request |
| --- | --- | --- |
| fresh | the lease holds: the operator says no Ready without this server | is answered from memory |
| lapsed | the lease is over, and the registry answers | asks SQL |
| silent | the lease is over, and the registry does not answer | asks a peer whose lease holds |
| taken | another server runs under this name | asks SQL; this process is ending |

Owns the states and every transition between them. Refuses SQL: the follower reports what it saw.
"""

from collections.abc import Callable
from enum import Enum, auto

from tenantry.processes.runtime import boot_clock_s

_BELIEVED_S = 2.5  # longer than from one question to the next, and shorter than any lease


class Contact(Enum):
    """What may be trusted; see the table above."""

    FRESH = auto()
    LAPSED = auto()
    SILENT = auto()
    TAKEN = auto()


class RegistryContact:
    """Follows the contact by what the registry did; the lease ends by the clock alone.

    Args:
        clock_s: seconds, never going back; a parameter so that tests can move it.
        believed_s: for how long a question that went unanswered says that the registry is silent.

    Example:
        >>> now_s = 100.0
        >>> contact = RegistryContact(clock_s=lambda: now_s)
        >>> contact.state.name
        'LAPSED'
        >>> contact.renewed(until_s=110.0)
        >>> contact.state.name
        'FRESH'
        >>> now_s = 110.0
        >>> contact.fell_silent()
        >>> contact.state.name
        'SILENT'
    """

    def __init__(
        self, *, clock_s: Callable[[], float] = boot_clock_s, believed_s: float = _BELIEVED_S
    ) -> None:
        self._clock_s = clock_s
        self._believed_s = believed_s
        self._lease_ends_s = float("-inf")
        self._read_at_s: float | None = None
        self._name_taken = False
        self._silent_until_s = float("-inf")
        self._lookup_answered = True

    @property
    def state(self) -> Contact:
        """The contact at this moment."""
        if self._clock_s() < self._lease_ends_s:
            return Contact.FRESH
        if self._name_taken:
            return Contact.TAKEN
        return Contact.LAPSED if self.registry_answers else Contact.SILENT

    @property
    def lease_held(self) -> bool:
        """Whether the contact is fresh; asked for every request, so without the other states."""
        return self._clock_s() < self._lease_ends_s

    @property
    def lease_left_s(self) -> float:
        """Seconds until the lease ends; 0 where it is over."""
        return max(0.0, self._lease_ends_s - self._clock_s())

    @property
    def registry_answers(self) -> bool:
        """Whether the registry is worth asking: it did not just leave the follower without an answer.

        That is believed for a moment: it says nothing of what happened while this server slept.
        """
        return self._clock_s() >= self._silent_until_s

    @property
    def age_s(self) -> float | None:
        """How old the knowledge is, in seconds, where the lease is over and the last lookup failed."""
        if self.lease_held or self._read_at_s is None or self._lookup_answered:
            return None
        return self._clock_s() - self._read_at_s

    def renewed(self, *, until_s: float) -> None:
        """The registry granted a lease until `until_s` of the clock, and everything was read."""
        self._lease_ends_s = until_s
        self._read_at_s = self._clock_s()

    def history_changed(self) -> None:
        """What was read is of another history: the lease ends now, until everything was read again."""
        self._lease_ends_s = float("-inf")

    def answered(self) -> None:
        """The registry answered the follower."""
        self._silent_until_s = float("-inf")

    def fell_silent(self) -> None:
        """The registry did not answer, or not for a while; to be said again as long as it does not."""
        self._silent_until_s = self._clock_s() + self._believed_s

    def name_taken(self) -> None:
        """Another server took this one's name: the lease ends now, for good."""
        self._name_taken = True
        self._lease_ends_s = float("-inf")

    def looked_up(self, *, answered: bool) -> None:
        """A lookup for one request was answered, or not."""
        self._lookup_answered = answered

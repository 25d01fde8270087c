"""Whether a peer lives, as a state machine: pure, without a clock or a connection of its own.

```
                    no answer              probe failed, connection refused
    BELIEVED_UP ----------------> DOUBTED ------------------------------+
         ^   |                       |                                  v
         |   +--- connection refused-|------------------------------> DOWN
         |                           |                                  |
         +------ probe answered -----+---------- probe answered --------+

    any --- closed ---> CLOSED
```

A doubted peer is still asked: it may only be slow. What the registry says (`live`) is beside this: a peer
whose lease is over is not asked, whatever its state.
"""

from enum import Enum, auto

_LEASELESS_S = 1.0


class Health(Enum):
    """What this server believes of a peer."""

    BELIEVED_UP = auto()
    DOUBTED = auto()  # a probe is under way; it is asked meanwhile
    DOWN = auto()  # probed again and again, and not asked
    CLOSED = auto()  # this server has given it up; final


class PeerHealth:
    """Follows one peer by what happened to requests and probes.

    Attributes:
        state: believed now.
        live: the peer's lease held when the registry was read last.
    """

    __slots__ = ("_leaseless_until_s", "live", "state")

    def __init__(self) -> None:
        self.state = Health.BELIEVED_UP
        self.live = True
        self._leaseless_until_s = float("-inf")

    @property
    def up(self) -> bool:
        """Whether requests may be sent: believed up, or doubted."""
        return self.state is Health.BELIEVED_UP or self.state is Health.DOUBTED

    @property
    def usable(self) -> bool:
        """Whether the peer is worth asking."""
        return self.live and self.up

    def leased(self, now_s: float) -> bool:
        """Return False for a second after the peer said that its lease is over."""
        return now_s >= self._leaseless_until_s

    def lease_over(self, now_s: float) -> None:
        """The peer answered that its lease is over."""
        self._leaseless_until_s = now_s + _LEASELESS_S

    def doubt(self) -> None:
        """A request got no answer, or not for a while."""
        if self.state is Health.BELIEVED_UP:
            self.state = Health.DOUBTED

    def failed(self) -> bool:
        """A probe or a connection failed; return whether that is news."""
        if not self.up:
            return False
        self.state = Health.DOWN
        return True

    def answered(self) -> bool:
        """A probe was answered; return whether the peer was down."""
        was_down = self.state is Health.DOWN
        if self.state is not Health.CLOSED:
            self.state = Health.BELIEVED_UP
        return was_down

    def close(self) -> None:
        """This server gives the peer up."""
        self.state = Health.CLOSED

"""What the sections of the benchmark are given."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Of one run.

    Attributes:
        requests: of attacks, and of fuzzed requests.
        users: whom attackers ask for.
        rounds: in which what is compared takes turns.
        seconds: of each turn.
        seed: of attacks and fuzzed requests.
    """

    requests: int
    users: int
    rounds: int
    seconds: float
    seed: int


def met(*, yes: bool) -> str:
    """Say whether a target is met."""
    return "met" if yes else "MISSED"

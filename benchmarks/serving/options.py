"""The options of a run, and the sizes that follow from it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """How much to do.

    Attributes:
        folder: for artifacts, registries and logs; gone afterwards.
        peers: names of the servers to compare with.
        rounds: in which all servers are asked in turns.
        seconds: of each turn.
        quick: a tenth of the tenants.
    """

    folder: Path
    peers: frozenset[str]
    rounds: int = 3
    seconds: float = 4.0
    quick: bool = False

    def scaled(self, count: int) -> int:
        """`count`, or a tenth of it."""
        return count // 10 if self.quick else count

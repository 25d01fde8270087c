"""Two or more servers asked in turns, so that whatever else the machine does meets them alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.serving import wrk
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.wrk import Load

_WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Rounds:
    """What each server did in each round.

    Attributes:
        by_name: name of the server -> its runs, in the order of the rounds.
    """

    by_name: dict[str, list[Load]]

    def load(self, name: str) -> Load:
        """Its median run."""
        return Load.middle(self.by_name[name])

    def ratios(self, ours: str, other: str) -> tuple[float, float, float]:
        """Our answers for one of theirs: the least, the median and the most of all rounds."""
        pairs = zip(self.by_name[ours], self.by_name[other], strict=True)
        each = sorted(mine.per_s / theirs.per_s for mine, theirs in pairs)
        return each[0], median(each), each[-1]


def interleaved(endpoints: Sequence[Endpoint], *, rounds: int, seconds: float) -> Rounds:
    """Ask each for `seconds` in each round; every other round in the opposite order."""
    runs: dict[str, list[Load]] = {endpoint.name: [] for endpoint in endpoints}
    for endpoint in endpoints:
        wrk.run(endpoint, _WARM_UP_S)
    for n in range(rounds):
        for endpoint in endpoints if n % 2 == 0 else reversed(endpoints):
            runs[endpoint.name].append(wrk.run(endpoint, seconds))
    return Rounds(runs)

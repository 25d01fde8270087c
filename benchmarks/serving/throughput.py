"""Two or more servers asked in turns, so that whatever else the machine does meets them alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.serving import wrk
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.report import spread
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
        return _of_rounds(mine.per_s / theirs.per_s for mine, theirs in pairs)

    def cpu_ratios(self, ours: str, other: str) -> tuple[float, float, float] | None:
        """The same of their CPU for a request and ours: steadier than answers a second; None: not known."""
        pairs = zip(self.by_name[ours], self.by_name[other], strict=True)
        known = [theirs.cpu_us / mine.cpu_us for mine, theirs in pairs if mine.cpu_us and theirs.cpu_us]
        return _of_rounds(known) if known else None


def _of_rounds(ratios: Iterable[float]) -> tuple[float, float, float]:
    each = sorted(ratios)
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


def cpu(rounds: Rounds, ours: str, other: str) -> str:
    """Return the ratio of CPU as a table shows it; empty where it is not known."""
    found = rounds.cpu_ratios(ours, other)
    return "" if found is None else spread(*found)

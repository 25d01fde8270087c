"""Which models ended or overran a worker, how often, and when they may be tried again. Pure."""

from collections import OrderedDict
from dataclasses import dataclass, field

WINDOW_S = 600.0
IN_SERVICE = 3  # strikes within the window, after which a model waits
FIRST_WAIT_S = 30.0
LAST_WAIT_S = 3600.0
_MOST_MODELS = 10_000
_MOST_NEW = 1000  # while no registry takes them


@dataclass(slots=True)
class _Record:
    """Of one model.

    Attributes:
        at_s: when its latest strikes were, the oldest first.
        waits: how often it had to wait.
        until_s: it is not tried before.
        how: what its latest strike was, in words.
    """

    at_s: list[float] = field(default_factory=list)
    waits: int = 0
    until_s: float = 0.0
    how: str = ""


@dataclass(frozen=True, slots=True)
class Strike:
    """What a model did once.

    Attributes:
        at_s: when, on `time.monotonic`'s clock.
    """

    model_id: str
    how: str
    at_s: float


class Strikes:
    """Counts strikes of models.

    Example:
        >>> strikes = Strikes()
        >>> [strikes.add("model", "signal 9", now_s) for now_s in (0.0, 1.0, 2.0)]
        [1, 2, 3]
        >>> strikes.wait_s("model", 2.0), strikes.wait_s("model", 33.0), strikes.wait_s("other", 2.0)
        (30.0, 0.0, 0.0)
    """

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._new: list[Strike] = []

    def take_new(self) -> list[Strike]:
        """Return the strikes that this process saw and that nobody took yet; `put_back` undoes it."""
        new, self._new = self._new, []
        return new

    def put_back(self, strikes: list[Strike]) -> None:
        """Offer these to `take_new` again."""
        self._new = (strikes + self._new)[-_MOST_NEW:]

    def add(self, model_id: str, how: str, now_s: float) -> int:
        """Count a strike that this process saw; return how many there were within the window."""
        self._new = [*self._new, Strike(model_id, how, now_s)][-_MOST_NEW:]
        return self.learn(model_id, how, now_s)

    def learn(self, model_id: str, how: str, now_s: float) -> int:
        """Count a strike that another process saw; return how many there were within the window."""
        record = self._records.setdefault(model_id, _Record())
        self._records.move_to_end(model_id)
        if len(self._records) > _MOST_MODELS:
            self._records.popitem(last=False)
        record.how = how
        record.at_s = [at_s for at_s in record.at_s if now_s - at_s < WINDOW_S] + [now_s]
        if len(record.at_s) >= IN_SERVICE:
            record.until_s = now_s + min(LAST_WAIT_S, FIRST_WAIT_S * 2**record.waits)
            record.waits += 1
        return len(record.at_s)

    def wait_s(self, model_id: str, now_s: float) -> float:
        """Return for how long this model is not to be tried, in seconds; 0: it may be."""
        record = self._records.get(model_id)
        return 0.0 if record is None else max(0.0, record.until_s - now_s)

    def has(self, model_id: str) -> bool:
        """Return whether the model ever had one, as far as this process remembers."""
        return model_id in self._records

    def how(self, model_id: str) -> str:
        """Return what the latest one was."""
        record = self._records.get(model_id)
        return "" if record is None else record.how

    def described(self) -> dict[str, dict[str, object]]:
        """Return for each model with strikes how many, and what the latest was."""
        return {
            model_id: {"count": len(record.at_s), "latest": record.how}
            for model_id, record in self._records.items()
        }

"""Near copies: small models that other servers hold, kept here too because they are asked for here.

They have memory of their own, so that they displace no model that this server has to answer with. Owns
which copies are worth it: TinyLFU (Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache
Admission Policy", ACM Transactions on Storage 13(4), 2017), where one large copy has to be asked for more
often than all the small ones together that would make room for it (Einziger, Eytan, Friedman and Manes,
"Lightweight Robust Size Aware Cache Management", ACM Transactions on Storage 18(3), 2022). Refuses to know
where copies come from, and whose they are: the key is the model id, which names exact bytes, so no copy is
ever stale.
"""

from collections import OrderedDict
from itertools import islice
from typing import Generic, Protocol, TypeVar

_ROWS = 4
_WIDTH_BITS = 14
_MASK = (1 << _WIDTH_BITS) - 1
_WINDOW = 10 << _WIDTH_BITS  # requests, after which all counts are halved
_MOST = 255
_HALVES = bytes(count // 2 for count in range(_MOST + 1))
_VICTIMS = 8  # copies that may make room for one
_LARGEST_BYTES = 256 << 10
# Of requests lately: what was asked for once may never be asked for again. A copy costs less than half of a
# hop, so where there is room it pays at the second request.
_WORTH_REQUESTS = 2
_ROOM = 0.5  # share of the bound up to which every model that is asked for comes in


class Copy(Protocol):
    """A model in memory.

    Attributes:
        requests: that it answered, since they were halved last.
        size_bytes: in memory.
    """

    requests: int
    size_bytes: int


_C = TypeVar("_C", bound=Copy)


class FrequencySketch:
    """How often each of very many keys was seen lately, in 64 KiB: a count-min sketch that forgets.

    A count may be too large, where keys share all their counters, and is never too small but for the
    halving. It ends at 255.

    Example:
        >>> sketch = FrequencySketch()
        >>> [sketch.add("a"), sketch.add("a"), sketch.count("b")]
        [1, 2, 0]
    """

    def __init__(self) -> None:
        self._rows = [bytearray(1 << _WIDTH_BITS) for _ in range(_ROWS)]
        self._left = _WINDOW

    def add(self, key: str) -> int:
        """Count a key once more, and return how often it was seen."""
        seen = self.count(key)
        if seen < _MOST:
            for row, at in self._places(key):
                if row[at] == seen:  # raising others would only make their counts too large
                    row[at] = seen + 1
        self._left -= 1
        if not self._left:
            self._rows = [row.translate(_HALVES) for row in self._rows]
            self._left = _WINDOW
        return min(seen + 1, _MOST)

    def count(self, key: str) -> int:
        """Return how often a key was seen."""
        return min(row[at] for row, at in self._places(key))

    def _places(self, key: str) -> list[tuple[bytearray, int]]:
        hashed = hash(key)
        return [(row, (hashed >> (n * _WIDTH_BITS)) & _MASK) for n, row in enumerate(self._rows)]


class NearCache(Generic[_C]):
    """Copies by model id, within a bound of bytes; not safe to use from several threads at once.

    Args:
        max_bytes: of all copies.

    Attributes:
        used_bytes: of all copies.
        largest_bytes: of one copy; a larger model is better asked for where it is.

    Example:
        >>> from types import SimpleNamespace
        >>> near = NearCache(1000)
        >>> near.put("a", SimpleNamespace(requests=0, size_bytes=100))
        >>> near.get("a").size_bytes, near.used_bytes, near.get("b")
        (100, 100, None)
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._copies: OrderedDict[str, _C] = OrderedDict()
        self._sketch = FrequencySketch()
        self.used_bytes = 0
        self.largest_bytes = min(_LARGEST_BYTES, max_bytes // _VICTIMS)

    def __len__(self) -> int:
        return len(self._copies)

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._copies

    def get(self, model_id: str) -> _C | None:
        """Return a copy, as the one that is used now."""
        found = self._copies.get(model_id)
        if found is not None:
            self._copies.move_to_end(model_id)
        return found

    def glance(self, model_id: str) -> _C | None:
        """Return a copy; not a use of it."""
        return self._copies.get(model_id)

    def missed(self, model_id: str) -> bool:
        """Count a request for a model that is not here; return whether a copy of it may be worth it."""
        seen = self._sketch.add(model_id)
        return seen >= _WORTH_REQUESTS or self.used_bytes <= _ROOM * self._max_bytes

    def admits(self, model_id: str, size_bytes: int) -> bool:
        """Return whether a copy may come in: there is room, or it is wanted more than those that leave.

        Those that stay this time count for half, so that what is no longer asked for leaves in the end.
        """
        if size_bytes > self.largest_bytes:
            return False
        victims = self._victims(size_bytes)
        if victims is None:
            return False
        if not victims or self._sketch.count(model_id) > sum(victim.requests for victim in victims):
            return True
        for victim in victims:
            victim.requests //= 2
        return False

    def put(self, model_id: str, copy: _C) -> None:
        """Take a copy in, and give up the least recently used ones until it fits."""
        self.discard(model_id)
        copy.requests = self._sketch.count(model_id)
        while self._copies and self.used_bytes + copy.size_bytes > self._max_bytes:
            self.discard(next(iter(self._copies)))
        self._copies[model_id] = copy
        self.used_bytes += copy.size_bytes

    def discard(self, model_id: str) -> None:
        """Drop a copy, where there is one."""
        copy = self._copies.pop(model_id, None)
        if copy is not None:
            self.used_bytes -= copy.size_bytes

    def _victims(self, size_bytes: int) -> list[_C] | None:
        """Return what would make room, the least recently used first; None: it would be too many."""
        missing = self.used_bytes + size_bytes - self._max_bytes
        victims = []
        for copy in islice(self._copies.values(), _VICTIMS):
            if missing <= 0:
                break
            victims.append(copy)
            missing -= copy.size_bytes
        return None if missing > 0 else victims

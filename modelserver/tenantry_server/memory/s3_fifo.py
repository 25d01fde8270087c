"""A cache that what is asked for once does not sweep away: two queues, and a memory of what has left.

S3-FIFO (Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023),
its queues measured by size. What comes in waits in a small queue, a tenth of the bound; at its end it moves
on to the main queue if it was used meanwhile, and is given up otherwise. What comes back soon after that
goes to the main queue at once. There it goes round once more for each use, up to three. A use moves no key.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from tenantry_server.memory.ordered import ShownCache

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")

_SMALL = 0.1  # share of the bound
_MOST_USES = 3
_GONE = 100  # that are remembered at least; otherwise as many as there are keys
_STEPS = 64  # keys that move for one that is given up: a full cache must not be walked through at once


class S3FIFO(ShownCache[_K, _V]):
    """Gives up what came lately and was not used again; else what is used the least.

    Example:
        >>> cache = S3FIFO(maxsize=10)
        >>> for key in "abcdefghij":
        ...     cache[key] = key.upper()
        >>> cache["a"]
        'A'
        >>> cache["k"] = "K"
        >>> "a" in cache, "b" in cache
        (True, False)
    """

    def __init__(self, maxsize: float, getsizeof: Callable[[_V], float] | None = None) -> None:
        super().__init__(maxsize, getsizeof)
        self._small: OrderedDict[_K, _V] = OrderedDict()
        self._main: OrderedDict[_K, _V] = OrderedDict()
        self._uses: dict[_K, int] = {}  # of keys that were used since they came, or went round
        self._gone: OrderedDict[int, None] = OrderedDict()  # hashes of keys that were given up unused
        self._small_size = 0.0

    def __getitem__(self, key: _K) -> _V:
        value = super().__getitem__(key)
        self.find(key)
        return value

    def find(self, key: _K) -> _V | None:
        """As `ShownCache.find`, in half the time of `get`."""
        value = self._main.get(key)
        if value is None:
            value = self._small.get(key)
            if value is None:
                return None
        uses = self._uses.get(key, 0)
        if uses < _MOST_USES:
            self._uses[key] = uses + 1
        return value

    def __setitem__(self, key: _K, value: _V) -> None:
        super().__setitem__(key, value)
        size = self.getsizeof(value)
        if key in self._main or self._gone.pop(hash(key), self) is None:
            self._main[key] = value
            return
        if key in self._small:
            size -= self.getsizeof(self._small[key])
        self._small[key] = value
        self._small_size += size

    def __delitem__(self, key: _K) -> None:
        super().__delitem__(key)
        self._uses.pop(key, None)
        if key in self._main:
            del self._main[key]
        else:
            self._small_size -= self.getsizeof(self._small.pop(key))

    def get_many(self, keys: Sequence[_K]) -> list[_V | None]:
        """As `ShownCache.get_many`."""
        values = list(map(self._main.get, keys))
        if not all(values):  # `None in values` takes four times as long, as it compares
            values = [
                self._small.get(key) if value is None else value
                for key, value in zip(keys, values, strict=True)
            ]
        uses = self._uses
        for key, value, times in zip(keys, values, map(uses.get, keys), strict=True):
            if times != _MOST_USES and value is not None:
                uses[key] = 1 if times is None else times + 1
        return values

    def clear(self) -> None:
        """Remove everything."""
        super().clear()
        for each in (self._small, self._main, self._uses, self._gone):
            each.clear()
        self._small_size = 0.0

    def last_first(self) -> Iterator[_K]:
        """As `ShownCache.last_first`."""
        by_uses: list[list[_K]] = [[] for _ in range(_MOST_USES + 1)]
        for queue in (self._main, self._small):
            for key in reversed(queue):
                by_uses[self._uses.get(key, 0)].append(key)
        for keys in reversed(by_uses):
            yield from keys

    def _first(self) -> _K:
        """Find what is given up, and let what was used before it go round."""
        steps = 0
        while self._small and (self._small_size > _SMALL * self.maxsize or not self._main):
            key = next(iter(self._small))
            if key not in self._uses:
                self._remember(key)
                return key
            if steps == _STEPS:
                break
            steps += 1
            self._promote(key)
        seen: dict[_K, int] = {}
        while self._main and steps < _STEPS:
            key = next(iter(self._main))
            uses = self._uses.get(key, 0)
            if not uses:
                return key
            steps += 1
            seen.setdefault(key, uses)
            self._go_round(key, uses)
        return min(seen, key=seen.__getitem__) if seen else next(iter(self._main or self._small))

    def _promote(self, key: _K) -> None:
        value = self._small.pop(key)
        self._small_size -= self.getsizeof(value)
        self._main[key] = value
        del self._uses[key]

    def _go_round(self, key: _K, uses: int) -> None:
        self._main.move_to_end(key)
        if uses == 1:
            del self._uses[key]
        else:
            self._uses[key] = uses - 1

    def _remember(self, key: _K) -> None:
        self._gone[hash(key)] = None
        while len(self._gone) > max(_GONE, len(self)):
            self._gone.popitem(last=False)

"""Caches that show which key they give up last, and those of them that have one order of all keys.

They are cachetools' by their interface; the order is kept here, as theirs is private.
"""

from abc import abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from cachetools import Cache

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class ShownCache(Cache[_K, _V]):
    """A cache that shows in which order it would go on to give up its keys."""

    def popitem(self) -> tuple[_K, _V]:
        """Remove and return the pair that is given up first.

        Raises:
            KeyError: the cache is empty.
        """
        try:
            key = self._first()
        except StopIteration:
            raise KeyError(f"{type(self).__name__} is empty") from None
        value = Cache.__getitem__(self, key)
        del self[key]
        return key, value

    def find(self, key: _K) -> _V | None:
        """Return a value as `get` does, used now; None: it is not here."""
        return self.get(key)

    def get_many(self, keys: Sequence[_K]) -> list[_V | None]:
        """Return the values of keys, None for those that are not here; each found is used now."""
        return [self.get(key) for key in keys]

    @abstractmethod
    def last_first(self) -> Iterator[_K]:
        """Iterate over the keys, the one that is given up last first; that is not a use of them."""

    @abstractmethod
    def _first(self) -> _K:
        """Find the key that is given up first; raise StopIteration where there is none."""


class OrderedCache(ShownCache[_K, _V]):
    """Gives up the first key of an order."""

    def __init__(self, maxsize: float, getsizeof: Callable[[_V], float] | None = None) -> None:
        super().__init__(maxsize, getsizeof)
        self._order: OrderedDict[_K, _V] = OrderedDict()

    def __setitem__(self, key: _K, value: _V) -> None:
        super().__setitem__(key, value)
        self._order[key] = value  # so that many are found without a call of `__getitem__` for each
        self._order.move_to_end(key)

    def __delitem__(self, key: _K) -> None:
        super().__delitem__(key)
        del self._order[key]

    def clear(self) -> None:
        """Remove everything."""
        super().clear()
        self._order.clear()

    def last_first(self) -> Iterator[_K]:
        """As `ShownCache.last_first`."""
        return reversed(self._order)

    def _first(self) -> _K:
        return next(iter(self._order))


class FIFO(OrderedCache[_K, _V]):
    """Gives up what was loaded first."""


class LRU(OrderedCache[_K, _V]):
    """Gives up what was not used for the longest time."""

    def __getitem__(self, key: _K) -> _V:
        value = super().__getitem__(key)
        self._order.move_to_end(key)
        return value

    def find(self, key: _K) -> _V | None:
        """As `ShownCache.find`, in half the time of `get`."""
        value = self._order.get(key)
        if value is not None:
            self._order.move_to_end(key)
        return value

    def get_many(self, keys: Sequence[_K]) -> list[_V | None]:
        """As `ShownCache.get_many`."""
        values = list(map(self._order.get, keys))
        found: Iterable[_K] = keys
        if not all(values):  # `None in values` takes four times as long, as it compares
            found = (key for key, value in zip(keys, values, strict=True) if value is not None)
        deque(map(self._order.move_to_end, found), maxlen=0)
        return values


class _Uses:
    """The keys that were used equally often, the one that is given up first at the front."""

    __slots__ = ("after", "before", "count", "keys")

    def __init__(self, count: int) -> None:
        self.count = count
        self.keys: OrderedDict[Any, None] = OrderedDict()
        self.before = self.after = self

    def insert_after(self, other: "_Uses") -> None:
        self.before, self.after = other, other.after
        other.after.before = self
        other.after = self

    def unlink(self) -> None:
        self.before.after, self.after.before = self.after, self.before


class LFU(OrderedCache[_K, _V]):
    """Gives up what was used the fewest times since it was loaded; of equals, what came to it first.

    A ring of counts, each with its keys, so that every use takes constant time (Shah, Mitra and Matani,
    "An O(1) algorithm for implementing the LFU cache eviction scheme", 2010).
    """

    def __init__(self, maxsize: float, getsizeof: Callable[[_V], float] | None = None) -> None:
        super().__init__(maxsize, getsizeof)
        self._ring = _Uses(0)  # holds no key
        self._uses: dict[_K, _Uses] = {}

    def __getitem__(self, key: _K) -> _V:
        value = super().__getitem__(key)
        self._count(key)
        return value

    def __setitem__(self, key: _K, value: _V) -> None:
        Cache.__setitem__(self, key, value)
        self._count(key)

    def __delitem__(self, key: _K) -> None:
        Cache.__delitem__(self, key)
        self._leave(self._uses.pop(key), key)

    def clear(self) -> None:
        """Remove everything."""
        super().clear()
        self._ring = _Uses(0)
        self._uses.clear()

    def last_first(self) -> Iterator[_K]:
        """As `ShownCache.last_first`."""
        uses = self._ring.before
        while uses is not self._ring:
            yield from reversed(uses.keys)
            uses = uses.before

    def _first(self) -> _K:
        first: _K = next(iter(self._ring.after.keys))
        return first

    def _count(self, key: _K) -> None:
        former = self._uses.get(key, self._ring)
        uses = former.after
        if uses is self._ring or uses.count != former.count + 1:
            if former is not self._ring and len(former.keys) == 1:
                former.count += 1
                return
            uses = _Uses(former.count + 1)
            uses.insert_after(former)
        uses.keys[key] = None
        self._uses[key] = uses
        if former is not self._ring:
            self._leave(former, key)

    def _leave(self, uses: _Uses, key: _K) -> None:
        del uses.keys[key]
        if not uses.keys:
            uses.unlink()

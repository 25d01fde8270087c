"""Things that are made when they are first needed."""

import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def once(make: Callable[[], _T]) -> Callable[[], _T]:
    """Return a function that returns what the first call of `make` returned; safe to call from threads.

    A call that raises is made again the next time.

    Example:
        >>> numbers = iter([1, 2])
        >>> first = once(lambda: next(numbers))
        >>> first(), first()
        (1, 1)
    """
    making = threading.Lock()
    made: list[_T] = []

    def get() -> _T:
        with making:
            if not made:
                made.append(make())
            return made[0]

    return get

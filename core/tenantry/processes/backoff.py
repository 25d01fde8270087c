"""How long to wait before something that failed is tried again."""

from random import uniform

_JITTER = 0.2
_MOST_DOUBLINGS = 60  # far beyond any bound; a float overflows at 1,024


def delay_s(failures: int, *, first_s: float, last_s: float) -> float:
    """Return the seconds to wait after so many failures in a row: doubled each time, with jitter.

    The jitter of 20 % keeps clients that failed together from coming back together (Brooker,
    "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).

    Args:
        failures: in a row, 1 after the first one.
        first_s: the wait after the first failure, before jitter.
        last_s: the longest wait, before jitter.

    Example:
        >>> [round(delay_s(n, first_s=1.0, last_s=5.0) / base) for n, base in ((1, 1), (2, 2), (9, 5))]
        [1, 1, 1]
    """
    base_s = min(first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), last_s)
    return base_s * uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter, not a secret

"""Tenants whose every answer names the tenant and the version that gave it.

Tenant n in version v answers [n, n + v] for the rows [0] and [1]: a line of its own.
"""

import hashlib
import io
from functools import lru_cache

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression

BODY = b'{"instances": [[0.0], [1.0]]}'
"""The request that every one of them understands."""

_START, _SLOPE = 1234567.0, 7654321.0  # no other eight bytes of the file are like these


def user_id(n: int) -> str:
    """Of tenant n."""
    return f"line-{n:06}"


def artifact(n: int, version: int) -> bytes:
    """A joblib file of a LinearRegression; made of a template, as to fit one takes a millisecond."""
    start, slope = np.float64(n).tobytes(), np.float64(version).tobytes()
    return _template().replace(_bytes(_START), start).replace(_bytes(_SLOPE), slope)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(predictions: list[float]) -> tuple[int, int]:
    """Whose answer that is, and of which version.

    Raises:
        ValueError: nobody's.
    """
    first, second = predictions
    n, version = round(first), round(second - first)
    if abs(first - n) > 1e-6 or abs(second - first - version) > 1e-6:
        raise ValueError(f"{predictions} is nobody's answer")
    return n, version


@lru_cache(1)
def _template() -> bytes:
    fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    fitted.coef_, fitted.intercept_ = np.array([_SLOPE]), np.float64(_START)
    file = io.BytesIO()
    joblib.dump(fitted, file)
    data = file.getvalue()
    assert data.count(_bytes(_START)) == data.count(_bytes(_SLOPE)) == 1
    return data


def _bytes(value: float) -> bytes:
    return np.float64(value).tobytes()

"""Parses large JSON bodies in a worker, which holds up nothing else meanwhile."""

import gc
from collections.abc import Callable, Sequence

from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Buffer
from tenantry_server.rows.large import series, written
from tenantry_server.rows.large.pieces import Written


def parse(given: Buffer) -> Sequence[Buffer]:
    """Parse a body.

    Args:
        given: the body's bytes, as an array, and a document with its ``form``, and ``how`` it is read.

    Returns:
        what the writer of its form writes.

    Raises:
        InvalidRequest, FeatureMismatch: as the server's own parsers.
    """
    gc.disable()  # for good: this process does nothing else, and values of JSON form no cycles
    asked, (data,) = arrays.decode(given)
    return arrays.encode(*_WRITERS[asked["form"]](data.tobytes(), **asked["how"]))


_WRITERS: dict[str, Callable[..., Written]] = {
    "rows": written.write_rows,
    "infer": written.write_infer,
    "forecast": series.write_forecast,
    "timeseries": series.write_timeseries,
}

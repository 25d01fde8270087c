"""Parses large JSON bodies in a worker, which holds up nothing else meanwhile."""

import gc
from collections.abc import Sequence

from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Buffer
from tenantry_server.rows.large import written


def parse(given: Buffer) -> Sequence[Buffer]:
    """Parse a body.

    Args:
        given: the body's bytes, as an array, and a document with its ``form``.

    Returns:
        what `written` writes of it.

    Raises:
        InvalidRequest, FeatureMismatch: as the server's own parsers.
    """
    gc.disable()  # for good: this process does nothing else, and values of JSON form no cycles
    asked, (data,) = arrays.decode(given)
    body = data.tobytes()
    if asked["form"] == "rows":
        return arrays.encode(*written.write_rows(body))
    return arrays.encode(*written.write_infer(body, asked["json_length"]))

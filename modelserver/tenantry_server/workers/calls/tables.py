"""Asks workers to read and write tables in Arrow and Parquet: no such bytes are read in this process."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Array, Buffer
from tenantry_server.workers.calls.helpers import Helpers
from tenantry_server.workers.frames import Kind
from tenantry_server.workers.pool import Pool


class Tables:
    """Workers that keep no model, and read and write tables.

    Args:
        pool: of the workers.
        timeout_s: for one table; a worker that takes longer is ended.
    """

    def __init__(self, pool: Pool, *, timeout_s: float) -> None:
        self._helpers = Helpers(pool, "table", timeout_s=timeout_s)

    async def read(self, data: bytes, asked: dict[str, Any]) -> Buffer:
        """Return what `tables.read` answers, to be decoded beside the event loop.

        Raises:
            InvalidRequest: the table can't be read, or ended the process that read it.
            BatchTooLong, UnknownMediaType: as `tables.read`.
            PredictionTimeout, WorkersUnavailable: as `Helpers.ask`.
        """
        return await self._helpers.ask(Kind.READ, arrays.encode(asked, [np.frombuffer(data, np.uint8)]))

    async def write(self, described: dict[str, Any], columns: Sequence[Array]) -> bytes:
        """Return the bytes of a table, as `tables.write` says.

        Raises:
            UnknownMediaType, PredictionTimeout, WorkersUnavailable: as `read`.
        """
        return bytes(await self._helpers.ask(Kind.WRITE, arrays.encode(described, columns)))

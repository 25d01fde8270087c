"""Asks workers to parse large JSON bodies: one call of a parser would hold this process's interpreter."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np

from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Buffer
from tenantry_server.rows.forecast_request import ForecastRequest
from tenantry_server.rows.infer_request import InferRequest
from tenantry_server.rows.json_payload import JsonPayload
from tenantry_server.rows.large import series, written
from tenantry_server.rows.large.grid import Grid
from tenantry_server.rows.series.timeseries import Asked
from tenantry_server.workers.calls.helpers import Helpers
from tenantry_server.workers.frames import Kind
from tenantry_server.workers.pool import Pool

LARGE_BYTES = 256 << 10
"""Of a body: 3 ms to parse, and as much to convert. A process beside takes 1 ms more for it."""


class LargeBodies:
    """Workers that keep no model, and parse bodies.

    Args:
        pool: of the workers.
        timeout_s: for one body; a worker that takes longer is ended.
        aside: for what is left to do here, and takes too long for the event loop.
    """

    def __init__(self, pool: Pool, *, timeout_s: float, aside: Executor) -> None:
        self._helpers = Helpers(pool, "body", timeout_s=timeout_s)
        self._aside = aside

    async def rows(self, body: bytes) -> Grid | JsonPayload:
        """Return what a body holds, as `json_payload.parse` does.

        Raises:
            InvalidRequest: as `json_payload.parse`; or the body ended the process that read it.
            PredictionTimeout, WorkersUnavailable: as `Helpers.ask`.
        """
        given = await self._ask("rows", body)
        rows: Grid | JsonPayload = await self._here(partial(_rows, body, given))
        return rows

    async def infer(self, body: bytes, json_length: str | None) -> InferRequest:
        """Return what a V2 request asks, as `infer_request.parse` does.

        Raises:
            InvalidRequest: as `infer_request.parse`; or the body ended the process that read it.
            PredictionTimeout, WorkersUnavailable: as `Helpers.ask`.
        """
        given = await self._ask("infer", body, json_length=json_length)
        asked: InferRequest = await self._here(partial(_infer, given))
        return asked

    async def forecast(self, body: bytes) -> ForecastRequest:
        """Return what a request for a forecast asks, as `forecast_request.parse` does.

        Raises:
            InvalidRequest: as `forecast_request.parse`; or the body ended the process that read it.
            PredictionTimeout, WorkersUnavailable: as `Helpers.ask`.
        """
        given = await self._ask("forecast", body)
        asked: ForecastRequest = await self._here(lambda: series.read_forecast(*arrays.decode(given)))
        return asked

    async def timeseries(self, body: bytes) -> Asked:
        """Return what a request of KServe's time-series protocol asks, as `timeseries.parse` does.

        Raises:
            InvalidRequest: as `timeseries.parse`; or the body ended the process that read it.
            PredictionTimeout, WorkersUnavailable: as `Helpers.ask`.
        """
        given = await self._ask("timeseries", body)
        asked: Asked = await self._here(lambda: series.read_timeseries(*arrays.decode(given)))
        return asked

    async def _ask(self, form: str, body: bytes, **how: Any) -> Buffer:
        asked = arrays.encode({"form": form, "how": how}, [np.frombuffer(body, np.uint8)])
        return await self._helpers.ask(Kind.PARSE, asked)

    async def _here(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._aside, call)


def _rows(body: bytes, given: Buffer) -> Grid | JsonPayload:
    return written.read_rows(body, *arrays.decode(given))


def _infer(given: Buffer) -> InferRequest:
    return written.read_infer(*arrays.decode(given))

"""A client of Tenantry's servers that asks the owner of a user's shard itself: no request is passed on.

Owns what to ask, whom, and what may be asked again. Refuses server code, models and everything that a base
install does not have; `AsyncClient` needs aiohttp (`pip install 'tenantry[client]'`) once it is made.
"""

from tenantry.client.answers import Forecast, Predictions
from tenantry.client.asynchronous import AsyncClient
from tenantry.client.batches import BatchPredictions
from tenantry.client.blocking import Client
from tenantry.client.errors import (
    AnswerLost,
    ClientError,
    DeadlineExceeded,
    ModelFailed,
    NoServer,
    NotAssigned,
    RequestRefused,
    Unavailable,
)

__all__ = [
    "AnswerLost",
    "AsyncClient",
    "BatchPredictions",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Forecast",
    "ModelFailed",
    "NoServer",
    "NotAssigned",
    "Predictions",
    "RequestRefused",
    "Unavailable",
]

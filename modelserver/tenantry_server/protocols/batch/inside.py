"""What the handlers of batches use, and the two questions that a batch can be."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tenantry.errors import ModelNotReady
from tenantry_server.peers.spread import Spread
from tenantry_server.predicting.batches import Batches
from tenantry_server.predicting.model_failures import ModelFailures
from tenantry_server.protocols.service import Service
from tenantry_server.workers.calls.tables import Tables


@dataclass(frozen=True, slots=True)
class Form:
    """What is asked for each row.

    Attributes:
        path: of the route.
        key: of the answers of all rows in JSON.
    """

    path: str
    key: str


DIGEST = "digest"
"""Of a query: the SHA-256 of the body. A proof of a server covers the query, and so who is named in it."""

PREDICT = Form("/predict", "predictions")
FORECAST = Form("/forecast", "forecasts")


@dataclass(frozen=True, slots=True)
class Inside:
    """The inside of the server, as batches see it.

    Attributes:
        service: what all protocols use.
        batches: answers rows.
        spread: passes rows on; None: there are no other servers.
        tables: reads and writes Arrow and Parquet; None: there are no workers for it.
        max_rows: of one request.
        max_body_bytes: of one request, also to another server.
        explained: finds out why no version of a model has loaded; None: nobody knows.
        counted: called with a status and how many rows have it.
        failures: logs which models failed.
    """

    service: Service
    batches: Batches
    spread: Spread | None = None
    tables: Tables | None = None
    max_rows: int = 100_000
    max_body_bytes: int = 8 << 20
    explained: Callable[[ModelNotReady], Awaitable[ModelNotReady]] | None = None
    counted: Callable[[int, int], None] = lambda _status, _rows: None
    failures: ModelFailures = field(default_factory=lambda: ModelFailures(lambda _: None))

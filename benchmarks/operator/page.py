"""How long the pages of a fleet of 100,000 tenants take, over HTTP, on SQLite and PostgreSQL.

`python -m benchmarks.operator.page` prints a table. The target is the first page in under 200 ms.
"""

import logging
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from sqlalchemy import Engine, insert, text
from tests.support.databases import postgres

from tenantry.registry import migrate, open_engine, schema
from tenantry.registry.engine import writing
from tenantry.trust.tls import Tls
from tenantry_operator.settings import Ui
from tenantry_operator.ui.asking import Asker
from tenantry_operator.ui.door import Door
from tenantry_operator.ui.serving import serving
from tenantry_operator.ui.sight import Sight
from tenantry_operator.ui.site import Site

TENANTS = 100_000
TARGET_MS = 200.0
_TIMES = 9
_GROUP = 5000
_AGED_S = 2.1  # until counts are read again
_REASONS = ("ArtifactInvalid", "Loading", "ArtifactNotFound")


def main() -> None:
    """Fill a registry of each kind, and print the times."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        _measure(f"sqlite:///{folder}/registry.db", Path(folder))
        with postgres.running() as server:
            _measure(server.database(), Path(folder))


def _measure(url: str, folder: Path) -> None:
    engine = open_engine(url)
    migrate(engine)
    _fill(engine)
    kind = engine.dialect.name
    with _page(url) as base:
        time.sleep(_AGED_S)
        began_s = time.perf_counter()
        _read(base)
        first_ms = (time.perf_counter() - began_s) * 1000
        print(f"{kind}: the first page, nothing read before: {first_ms:.0f} ms (target {TARGET_MS:.0f} ms)")
        last = '?after=["default/store-099900","z"]'
        for name, query in (
            ("first page", ""),
            ("last page", last),
            ("not Ready", "?reason=unready"),
            ("search, found at the end", "?q=store-09999"),
            ("search, nothing found", "?q=nothing"),
        ):
            took = [_timed(base + query.replace('"', "%22")) for _ in range(_TIMES)]
            print(f"{kind}: {name}: median {statistics.median(took):.0f} ms, worst {max(took):.0f} ms")
    engine.dispose()
    for file in folder.glob("registry.db*"):
        file.unlink()


def _timed(url: str) -> float:
    time.sleep(_AGED_S / 3)  # so that some ask with counts that are read again, and some without
    began_s = time.perf_counter()
    _read(url)
    return (time.perf_counter() - began_s) * 1000


def _read(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        assert b"<tbody>" in answer.read()


@contextmanager
def _page(url: str) -> Iterator[str]:
    sight = Sight(url, Asker(None, Tls()))
    with serving("127.0.0.1", 0, Site(sight, Door(Ui.OPEN, sight.registry.keys()))) as base:
        yield base


def _fill(engine: Engine) -> None:
    with writing(engine) as connection:
        for start in range(0, TENANTS, _GROUP):
            connection.execute(insert(schema.claims), [_row(start + each) for each in range(_GROUP)])
    if engine.dialect.name == "postgresql":  # as autovacuum does, a minute after so many rows came
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE claims"))


def _row(number: int) -> dict[str, object]:
    user = f"store-{number:06d}"
    reason = _REASONS[number // 100 % 3] if number % 100 == 7 else "Ready"
    said = {"type": "Ready", "status": "True", "reason": reason, "message": "version 9f86d081 answers" * 3}
    uri = f"s3://models/{user}/2026-11-20.skops"
    return {
        "uid": f"{number:06d}-5f0c-4c2a-8000-000000000000",
        "namespace": "default",
        "name": user,
        "user_id": user,
        "origin": "",
        "created_at": 1.0,
        "generation": 1,
        "spec": {"userId": user, "model": {"uri": uri, "format": "sklearn"}},
        "observed_generation": 1,
        "model_id": f"{uri}?versionId=abc#etag=123&sha256={'9f86d081' * 8}",
        "size_bytes": 430,
        "conditions": [said | {"lastTransitionTime": "2026-11-29T10:00:00Z"}],
        "title": f"default/{user}",
        "reason": reason,
    }


if __name__ == "__main__":
    main()

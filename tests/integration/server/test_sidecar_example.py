"""The application of examples/sidecar asks a model server over a Unix socket, and passes its words on."""

import asyncio
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import joblib
import orjson
import pandas as pd
import pytest
from aiohttp import web
from sklearn.linear_model import LinearRegression

from tenantry.registry import Assignment, OperatorRegistry, Writes, open_engine
from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    SQLAlchemyModelInfoRepository,
    bounded_cache,
    make_app,
)
from tests.support.databases.migrated import migrate

APP = Path(__file__).parents[3] / "examples" / "sidecar" / "app.py"
STORE = "store@42+x"  # has to be written otherwise in a path


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    """A socket at which a model server answers for one store."""
    rows = pd.DataFrame({"km": [0.0, 1.0]})
    joblib.dump(LinearRegression().fit(rows, [0.0, 4.0]), tmp_path / "it.joblib")
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    operator = OperatorRegistry(engine, "by hand")
    operator.lead("by hand")
    operator.commit(Writes(assignments=[Assignment(STORE, "uid", 1, "it.joblib")]))
    models = CachedModelRepository(FileSystemModelRepository(tmp_path), bounded_cache(1 << 20))
    runner = web.AppRunner(make_app(SQLAlchemyModelInfoRepository(engine), models))
    await runner.setup()
    path = tmp_path / "sidecar.sock"
    await web.UnixSite(runner, str(path)).start()
    yield path
    await runner.cleanup()
    engine.dispose()


@pytest.fixture
def application(tmp_path: Path) -> Iterator[str]:
    """The application as a process, without any package; it looks for the socket with each request."""
    env = {"SIDECAR_SOCKET": str(tmp_path / "sidecar.sock"), "HOST": "127.0.0.1", "PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(APP)], env={**os.environ, **env}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = re.match(r"listening on port (\d+)", process.stderr.readline())
        assert said, process.stderr.read()
        yield f"http://127.0.0.1:{said[1]}"
        process.terminate()


def _get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, orjson.loads(error.read())


async def test_each_store_gets_its_own_models_answer(application: str, socket: Path) -> None:
    path = "/price/store%4042%2Bx?km=5"
    status, said = await asyncio.to_thread(_get, application + path)
    assert (status, said) == (200, {"price": pytest.approx(20.0)})


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/price/nobody?km=5", 404, "no model is assigned to user 'nobody'"),
        ("/price/store%4042%2Bx?miles=5", 422, "missing column 'km'"),
        ("/price/nobody?km=far", 400, "could not convert"),
        ("/prices", 404, "ask for /price/STORE"),
        ("/healthz", 200, "true"),
    ],
)
async def test_errors_reach_the_caller_in_the_servers_words(
    application: str, socket: Path, path: str, status: int, words: str
) -> None:
    code, said = await asyncio.to_thread(_get, application + path)
    assert code == status
    assert words in orjson.dumps(said).decode()


def test_without_a_sidecar_it_says_so_and_stays_up(application: str) -> None:
    status, said = _get(f"{application}/price/it?km=5")
    assert status == 503
    assert "the sidecar does not answer" in said["error"]
    assert _get(f"{application}/healthz")[0] == 200

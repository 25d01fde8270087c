"""`python -m benchmarks.cards`: what a card costs a model of numbers, in requests and in loads.

One server has each model twice, with its card and without. They are asked in turn, every answer is compared
with the model's own, and CPU time is that of the server with its workers, as the kernel counts it. So other
work on the machine disturbs little.
"""

import argparse
import http.client
import io
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import joblib
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from tests.support.processes import up as ups

from tenantry import ModelId
from tenantry_server import publish
from tenantry_server.describing.card_of import card_of
from tenantry_server.formats import load_model

_COLUMNS = 10
_EXAMPLE_ROWS = 20
_RNG = np.random.default_rng(0)
_FRAME = pd.DataFrame(_RNG.normal(size=(200, _COLUMNS)), columns=[f"c{n}" for n in range(_COLUMNS)])
_TARGET = _FRAME.sum(axis=1)
_MODELS: dict[str, Any] = {
    "ridge": make_pipeline(StandardScaler(), Ridge()),  # becomes a kernel
    "svr": make_pipeline(StandardScaler(), SVR()),  # stays in a worker
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.cards", description=__doc__)
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--requests", type=int, default=200, help="of each model in a round")
    options.add_argument("--loads", type=int, default=300)
    given = options.parse_args()
    table = Table("what", "without", "with", "ratio (least to most), or difference", "target", box=None)
    with tempfile.TemporaryDirectory(prefix="tenantry-cards-") as name:
        for kind in _MODELS:
            table.add_row(*_requests(kind, Path(name) / kind, given.rounds, given.requests))
    table.add_row(*_loads(given.loads))
    Console(width=140).print(table)


def _requests(kind: str, folder: Path, rounds: int, count: int) -> tuple[str, str, str, str, str]:
    model = _MODELS[kind].fit(_FRAME, _TARGET)
    manifests = folder / "tenants"
    examples = {"without": None, "with": _FRAME.head(_EXAMPLE_ROWS)}
    for user_id, example in examples.items():
        publish(model, user_id=user_id, to=folder / "models", manifests=manifests, example=example)
    env = {"OMP_NUM_THREADS": "1"}
    with ups.running(manifests, folder / "state", servers=1, env=env) as up:
        up.until_ready(len(examples))
        (url,) = up.servers()
        client = http.client.HTTPConnection(urlsplit(url).netloc)
        pid = next(pid for name, pid in up.pids.items() if name.startswith("server"))
        spent_us: dict[str, list[float]] = {user_id: [] for user_id in examples}
        for number in range(rounds + 1):
            for user_id in examples if number % 2 else reversed(examples):
                spent_s = _spent_s(pid)
                _ask(client, user_id, model, count)
                spent_us[user_id].append(1e6 * (_spent_s(pid) - spent_s) / count)
    without, with_ = (spent_us[user_id][1:] for user_id in ("without", "with"))
    ratios = sorted(after / before for before, after in zip(without, with_, strict=True))
    shown = f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    what = f"{kind}: CPU of the server for a request, us"
    return what, f"{median(without):.1f}", f"{median(with_):.1f}", shown, "at most 1.03"


def _ask(client: http.client.HTTPConnection, user_id: str, model: Any, count: int) -> None:
    rows = _FRAME.iloc[:50]
    bodies = [json.dumps([row]) for row in rows.to_dict("records")]
    expected = model.predict(rows)
    for number in range(count):
        at = number % len(bodies)
        client.request("POST", f"/predict/{user_id}", bodies[at], {"Content-Type": "application/json"})
        reply = client.getresponse()
        (seen,) = json.loads(reply.read())
        if not np.isclose(seen, expected[at], rtol=1e-9, atol=1e-12):
            raise AssertionError(f"{user_id}: {seen} instead of {expected[at]}")


def _spent_s(pid: int) -> float:
    """CPU seconds of a process and those that it started, which live as long as a benchmark."""
    tasks = Path(f"/proc/{pid}/task")
    own_ns = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())
    children = {int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()}
    return own_ns / 1e9 + sum(map(_spent_s, children))


def _loads(count: int) -> tuple[str, str, str, str, str]:
    """What golden rows cost: a load that asks them beside one whose rows were asked before."""
    buffer = io.BytesIO()
    joblib.dump(_MODELS["ridge"].fit(_FRAME, _TARGET), buffer)
    data, exact = buffer.getvalue(), ModelId("file:///m.joblib")
    card = card_of(data, exact, _FRAME.head(_EXAMPLE_ROWS)).to_json()
    spent_ms: dict[bool, list[float]] = {True: [], False: []}
    for number in range(count):
        for was_tried in (True, False) if number % 2 else (False, True):
            began_s = time.thread_time()
            load_model(data, exact, card, was_tried=was_tried)
            spent_ms[was_tried].append(1e3 * (time.thread_time() - began_s))
    without, with_ = median(spent_ms[True]), median(spent_ms[False])
    return (
        f"ridge: CPU of a load, {_EXAMPLE_ROWS} golden rows of {_COLUMNS} columns, ms",
        f"{without:.2f}",
        f"{with_:.2f}",
        f"{with_ - without:.2f}",
        "at most 1",
    )


if __name__ == "__main__":
    main()

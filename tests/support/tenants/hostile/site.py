"""A fleet, its honest tenants, and what they are answered while another tenant does its worst."""

import os
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVR

from tenantry_server import publish
from tests.support.processes import up as ups
from tests.support.processes.up import Up, ask
from tests.support.waiting import until

FRAME = pd.DataFrame({"x": np.linspace(0.0, 1.0, 20), "y": np.linspace(1.0, 3.0, 20)})
ROW = [{"x": 0.5, "y": 2.0}]


class Site:
    """A fleet, and what it is asked.

    Attributes:
        shared: a folder that models may use in their sandbox.
        expected: user -> rows, and what plain scikit-learn answers for them.
    """

    def __init__(self, up: Up, folder: Path) -> None:
        self.up = up
        self.folder = folder
        self.shared = folder / "shared"
        self.expected: dict[str, tuple[Any, float]] = {}

    def publish(self, user_id: str, model: Any) -> None:
        """Without the check: some of these models end the process that loads them."""
        models, manifests = self.folder / "models", self.up.manifests
        publish(model, user_id=user_id, to=models, manifests=manifests, check=False)

    def add_neighbour(self, user_id: str, fitted: Any, rows: Any) -> None:
        self.publish(user_id, fitted)
        self.expected[user_id] = rows, float(fitted.predict(pd.DataFrame(rows))[0])

    def wrong(self, user_id: str, url: str | None = None) -> str:
        """What is wrong with a neighbour's answer; empty: nothing."""
        rows, expected = self.expected[user_id]
        reply = self.up.predict(user_id, rows, url)
        if reply.status != 200:
            return f"{user_id}: {reply.status} {reply.body}"
        seen = float(reply.body[0])
        return "" if abs(seen - expected) <= 1e-9 else f"{user_id}: {seen}"

    @contextmanager
    def neighbours(self) -> Iterator[Counter[str]]:
        """Ask for every neighbour at every server all the time; the counts of what came back."""
        seen: Counter[str] = Counter()
        took_s: list[float] = []
        urls, stop = self.up.servers(), threading.Event()

        def asking() -> None:
            while not stop.is_set():
                for url in urls:
                    for user_id in self.expected:
                        began_s = time.perf_counter()
                        try:
                            seen[self.wrong(user_id, url) or "right"] += 1
                        except OSError as error:
                            seen[repr(error)] += 1
                        took_s.append(time.perf_counter() - began_s)

        thread = threading.Thread(target=asking)
        thread.start()
        try:
            yield seen
            until(lambda: seen["right"] > 30, "the neighbours are answered")
        finally:
            stop.set()
            thread.join()
        ordered = sorted(took_s)
        p50, p99 = (1e3 * ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        print(f"    neighbours: {len(ordered)} requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms")

    def metric(self, name: str) -> float:
        """A gauge, over all servers."""
        total = 0.0
        for url in self.up.servers():
            lines = ask(urllib.request.Request(f"{url}/metrics")).body.splitlines()
            total += sum(float(line.split()[1]) for line in lines if line.startswith(f"tenantry_{name} "))
        return total

    def resident_bytes(self) -> dict[str, int]:
        """Of each server."""
        sizes = {}
        for name, pid in self.up.pids.items():
            if name.startswith("server"):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                sizes[name] = pages * os.sysconf("SC_PAGE_SIZE")
        return sizes

    def worker_pids(self) -> dict[str, list[int]]:
        """Of each server's address, the processes that run its models, the one that makes them first."""
        found = {}
        for url in self.up.servers():
            told = ask(urllib.request.Request(f"{url}/workers")).body
            found[url] = [told["zygote"], *(worker["pid"] for worker in told["workers"])]
        return found


@contextmanager
def running(folder: Path, *, servers: int, env: Mapping[str, str]) -> Iterator[Site]:
    """Run a fleet with tenants whose models become arrays, and others that stay in workers."""
    manifests = folder / "tenants"
    manifests.mkdir()
    shared = folder / "shared"
    shared.mkdir()
    whole = {"TENANTRY_SANDBOX_FOLDERS": str(shared), **env}
    with ups.running(manifests, folder / "state", servers=servers, env=whole) as up:
        site = Site(up, folder)
        target = FRAME.sum(axis=1)
        logs = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), SVR())
        models = {
            "ridge": make_pipeline(StandardScaler(), Ridge()),
            "svr": make_pipeline(StandardScaler(), SVR()),
            "logs": logs,
        }
        for user_id, model in models.items():
            site.add_neighbour(user_id, model.fit(FRAME, target), ROW)
        cities = pd.DataFrame({"city": ["rome", "oslo"] * 10})
        encoded = make_pipeline(ColumnTransformer([("city", OneHotEncoder(), ["city"])]), Ridge())
        site.add_neighbour("cities", encoded.fit(cities, target), [{"city": "oslo"}])
        up.until_ready(len(site.expected))
        until(lambda: len(up.servers()) == servers, "all servers")
        yield site

"""Publishing thousands beside storing the same bytes bare: ``python -m benchmarks.batch.publishing``.

Both sides fit nothing: the models are there. Bare is ``joblib.dump`` and a file, flushed to disk like ours,
or a PUT, with as many threads; the other bare has ``pickle.dumps`` in its place, whose bytes ours are. Ours
also tries each model, hashes it and writes its manifest. Libraries are imported before. Rounds alternate,
and the least of each counts, which other processes of the machine disturb the least.
"""

import argparse
import io
import os
import pickle
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import Ridge
from tests.support.stores import s3

from tenantry.publishing import publish_many
from tenantry_server.artifacts.s3 import make_client

TARGET = 1.2
THREADS = 8


def models(count: int) -> list[Ridge]:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(64, 8))
    return [Ridge().fit(rows, rng.normal(size=64)) for _ in range(count)]


def dumped(model: Ridge) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def bare(
    fitted: Sequence[Ridge], store: Callable[[str, bytes], object], dump: Callable[[Ridge], bytes] = dumped
) -> None:
    def one(model: Ridge) -> None:
        store(f"{uuid.uuid4().hex}.joblib", dump(model))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, fitted))


def ours(fitted: Sequence[Ridge], to: str, manifests: Path, *, check: bool) -> None:
    items = ({"user_id": f"store-{number}", "model": model} for number, model in enumerate(fitted))
    report = publish_many(items, to=to, manifests=manifests, check=check, threads=THREADS)
    assert len(report.published) == len(fitted), report.failed[:3]


def to_disk(folder: Path) -> Callable[[str, bytes], object]:
    folder.mkdir(parents=True, exist_ok=True)

    def store(name: str, data: bytes) -> None:
        with (folder / name).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    return store


def to_bucket(url: str, bucket: str) -> Callable[[str, bytes], object]:
    client = make_client(url, connections=THREADS, silent_s=60.0)
    return lambda name, data: client.put_object(Bucket=bucket, Key=name, Body=data)


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and CPU seconds of this process."""
    began, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - cpu


def compared(title: str, ways: dict[str, Callable[[], None]], rounds: int) -> None:
    least = dict.fromkeys(ways, (float("inf"), float("inf")))
    for _ in range(rounds):
        for name, way in ways.items():
            least[name] = min(least[name], timed(way))
    bare_s, bare_cpu_s = least["bare"]
    for name, (took_s, cpu_s) in least.items():
        ratio = (
            "" if name == "bare" else f"   {took_s / bare_s:5.2f} x time, {cpu_s / bare_cpu_s:5.2f} x CPU"
        )
        print(f"{title:8}{name:24}{took_s:8.2f} s{cpu_s:8.2f} s of CPU{ratio}", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Measure, and print a line for each way."""
    parser = argparse.ArgumentParser(prog="benchmarks.batch.publishing", description=__doc__)
    parser.add_argument("--models", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    fitted = models(options.models)
    print(f"{options.models} Ridge models, {THREADS} threads; target {TARGET} x bare")
    with tempfile.TemporaryDirectory() as root, s3.running() as server:
        folder, bucket = Path(root), server.bucket()
        os.environ |= {
            "AWS_ACCESS_KEY_ID": s3.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": s3.SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": server.url,
        }
        for title, to, store in (
            ("folder", str(folder / "models"), to_disk(folder / "bare")),
            ("S3", f"s3://{bucket}/models", to_bucket(server.url, bucket)),
        ):

            def published(*, check: bool, to: str = to) -> None:
                ours(fitted, to, folder / uuid.uuid4().hex, check=check)

            def stored(store: Callable[[str, bytes], object] = store) -> None:
                bare(fitted, store)

            def pickled(store: Callable[[str, bytes], object] = store) -> None:
                bare(fitted, store, pickle.dumps)

            ours(fitted[:8], to, folder / "first", check=True)
            ways: dict[str, Callable[[], None]] = {
                "bare": stored,
                "bare, pickled": pickled,
                "publish_many": lambda published=published: published(check=True),  # type: ignore[misc]
                "publish_many, untried": lambda published=published: published(check=False),  # type: ignore[misc]
            }
            compared(title, ways, options.rounds)


if __name__ == "__main__":
    main(sys.argv[1:])

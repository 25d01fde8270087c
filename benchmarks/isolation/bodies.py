"""24 legal JSON bodies of 8 MiB at once to one server, and what others notice.

Run `python -m benchmarks.isolation.bodies`. A process beside asks for /healthz and for a warm prediction of
another tenant every 50 ms. The longest hold of the event loop is the figure of the server's own watchdog.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from tests.support.processes import servers as processes

_BODY_BYTES = (8 << 20) - 256
_AT_ONCE = 24
_PROBE = """
import http.client, sys, threading, time
from urllib.parse import urlsplit
url, over = urlsplit(sys.argv[1]), threading.Event()
def probe(name, method, path, body):
    connection, took = http.client.HTTPConnection(url.hostname, url.port, timeout=120), []
    while not over.wait(0.05):
        began = time.perf_counter()
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    print(f"    {name}: p50 {took[len(took) // 2]:.1f}, p99 {took[int(len(took) * 0.99)]:.0f}, "
          f"max {took[-1]:.0f} ms of {len(took)}", flush=True)
row = b'[{"a":1,"b":2}]'
asked = [("/healthz", "GET", "/healthz", None), ("a warm prediction", "POST", "/predict/small", row)]
threads = [threading.Thread(target=probe, args=each) for each in asked]
[each.start() for each in threads]
sys.stdin.read()
over.set()
"""


def main() -> None:
    """Print a paragraph for each form of body."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=4096).round(6).tolist()
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])

    def row(number: int) -> list[float]:
        return [values[number % 4096], values[(number + 1) % 4096]]

    with (
        tempfile.TemporaryDirectory() as folder,
        processes.running(Path(folder), 1, TENANTRY_PREDICT_TIMEOUT_S="60") as servers,
    ):
        servers.hold_all("server-0")
        for user_id in ("small", "large"):
            servers.add(user_id, Ridge().fit(frame, frame["a"]), "server-0")
        servers.until_acknowledged()
        url = servers.url("server-0")
        for name, path, body in (
            (
                "records",
                "/predict/large",
                _body("[", "]", lambda n: dict(zip("ab", row(n), strict=True))),
            ),
            ("lists", "/v1/models/large:predict", _body('{"instances":[', "]}", row)),
            ("columns", "/predict/large", _body('{"columns":["a","b"],"data":[', "]}", row)),
            ("V2", "/v2/models/large/infer", _tensor(row)),
        ):
            _measure(url, name, path, body)


def _body(start: str, end: str, row: Callable[[int], object]) -> bytes:
    rows: list[str] = []
    size = len(start) + len(end)
    while size < _BODY_BYTES:
        rows.append(json.dumps(row(len(rows))))
        size += len(rows[-1]) + 1
    return (start + ",".join(rows) + end).encode()


def _tensor(row: Callable[[int], list[float]]) -> bytes:
    data = [value for number in range(_BODY_BYTES // 24) for value in row(number)]
    tensor = {"name": "x", "datatype": "FP64", "shape": [len(data) // 2, 2], "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def _measure(url: str, name: str, path: str, body: bytes) -> None:
    statuses: Counter[int] = Counter()

    def send() -> None:
        request = urllib.request.Request(url + path, data=body)
        with urllib.request.urlopen(request, timeout=600) as answer:
            answer.read()
            statuses[answer.status] += 1

    command = [sys.executable, "-c", _PROBE, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE):  # noqa: S603 - our own code
        began_s = time.monotonic()
        senders = [threading.Thread(target=send) for _ in range(_AT_ONCE)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        took_s = time.monotonic() - began_s
        print(
            f"{name}: {_AT_ONCE} of {len(body) / (1 << 20):.1f} MiB in {took_s:.1f} s, {dict(statuses)}, "
            f"load average {os.getloadavg()[0]:.0f}",
            flush=True,
        )
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(("tenantry_loop_", "process_resident_memory_bytes")):
                print(f"    {line}")


if __name__ == "__main__":
    main()

"""The first answer for a tenant whose model lies in S3, beside the plain GET and load of that object."""

import http.client
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from tests.support.stores import s3
from tests.support.stores.s3 import S3Server

from benchmarks.operator.report import quantile
from benchmarks.serving import ours, store
from benchmarks.serving.cores import SERVER_CORE, pinned
from benchmarks.serving.endpoint import Endpoint, WrongAnswer
from benchmarks.serving.options import Options
from benchmarks.serving.report import Row, quantiles, spread
from benchmarks.serving.store import Store
from benchmarks.serving.tenants import Tenants

_WARM_UP = 10  # tenants: connections, imports and code paths
_RIDGES = 300
_FORESTS = 30
_TIMES, _PLUS_MS = 1.5, 2.0
_RAW = Path(__file__).parent / "peers" / "raw_s3.py"


def cold(options: Options) -> list[Row]:
    """Small models, which the target is for, and forests, whose load is mostly work."""
    sizes = {"ridge": _RIDGES, "forest": _FORESTS}
    with s3.running() as server:
        return [
            _measured(
                server,
                Tenants(kind, options.folder / f"cold-{kind}", _WARM_UP + options.scaled(count)),
                options,
            )
            for kind, count in sizes.items()
        ]


def _measured(server: S3Server, tenants: Tenants, options: Options) -> Row:
    held = store.hold(server, tenants)
    with (
        ours.running(tenants, held.model_ids, tenants.folder / "ours", held.settings()) as own,
        _raw(held) as raw,
    ):
        asked = _first_answers(own, tenants)
        first_ms, raw_ms = [], []
        for n in range(tenants.count):
            both = [lambda n=n: first_ms.append(asked(n)), lambda n=n: raw_ms.append(raw(n))]
            for one in both if n % 2 else reversed(both):
                one()
    return _row(tenants, first_ms[_WARM_UP:], raw_ms[_WARM_UP:], options.rounds)


def _row(tenants: Tenants, first_ms: list[float], raw_ms: list[float], rounds: int) -> Row:
    ratios = sorted(median(first_ms[n::rounds]) / median(raw_ms[n::rounds]) for n in range(rounds))
    limit_ms = _TIMES * median(raw_ms) + _PLUS_MS
    return Row(
        f"cold {tenants.kind} over S3, {len(first_ms)} tenants",
        "GET and joblib.load",
        f"{median(first_ms):.2f} ms",
        f"{median(raw_ms):.2f} ms",
        spread(ratios[0], median(ratios), ratios[-1]),
        f"at most {_TIMES} x + {_PLUS_MS:g} ms: {limit_ms:.2f} ms",
        median(first_ms) <= limit_ms,
        quantiles(median(first_ms), quantile(first_ms, 0.99)),
        quantiles(median(raw_ms), quantile(raw_ms, 0.99)),
    )


def _first_answers(own: Endpoint, tenants: Tenants) -> Callable[[int], float]:
    """A function that asks for tenant `n` and gives the milliseconds until the answer, which it checks."""
    connection = http.client.HTTPConnection(str(urlsplit(own.url).netloc), timeout=60)

    def asked(n: int) -> float:
        began_s = time.perf_counter()
        connection.request("POST", own.requests[n].path, own.body, own.requests[n].headers)
        answer = connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began_s) * 1e3
        expected = tenants.expected(n)
        if answer.status != 200 or not math.isclose(own.read(json.loads(body)), expected, rel_tol=1e-9):
            raise WrongAnswer(f"{tenants.user_id(n)}: {answer.status} {body[:300]!r}, not {expected}")
        return took_ms

    return asked


@contextmanager
def _raw(held: Store) -> Iterator[Callable[[int], float]]:
    """A process on the servers' core that reads and loads tenant `n`, and gives the milliseconds."""
    argv = pinned([sys.executable, str(_RAW), held.url], SERVER_CORE)
    env = {**os.environ, **held.settings()}
    with subprocess.Popen(  # noqa: S603 - our own program; it ends with its input
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        given, printed = process.stdin, process.stdout

        def loaded(n: int) -> float:
            given.write(f"{held.bucket} {held.keys[n]}\n")
            return float(printed.readline())

        yield loaded
        given.close()

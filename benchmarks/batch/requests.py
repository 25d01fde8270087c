"""100,000 linear tenants: single requests over 16 connections, and the same rows in requests for many.

Forms take turns in one run, against one server on a core of its own. Answers are checked before anything is
timed: against scikit-learn's, and against single requests to the last bit.
"""

import argparse
import http.client
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import orjson
from tests.support.environments import environment, our_requirements, with_our_sources

from benchmarks.serving import cores, endpoint, ours, report, wrk
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.tenants import ROW, Tenants, linear_answers

_TENANTS = 100_000
_ROWS = 10_000  # of one request: 2 MB of JSON
_SECONDS = 4.0  # of single requests in each round
_CHECKED = 200
_RATIO, _ARROW_RATIO = 10.0, 3.0
_ARROW = "application/vnd.apache.arrow.stream"
_WRITE = """
import sys, json, pyarrow as pa
for line in sys.stdin:
    rows = json.loads(line)["rows"]
    table = pa.Table.from_pylist(rows)
    with open(sys.argv[1] % json.loads(line)["number"], "wb") as file:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
"""
_READ = """
import sys, json, pyarrow as pa
table = pa.ipc.open_stream(sys.stdin.buffer.read()).read_all()
json.dump([table["prediction"].to_pylist(), table["error"].to_pylist()], sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One form in one round.

    Attributes:
        per_s: rows a second.
        cpu_us: CPU of the server and its workers for one row, in microseconds.
    """

    per_s: float
    cpu_us: float


def main(arguments: argparse.Namespace) -> None:
    """Measure, and print a line for each form."""
    wrk.require()
    python = environment("arrow", *our_requirements("server", tools=_TOOLS), "pyarrow==26.0.1")
    heading = report.heading()
    cores.leave_the_servers_alone()
    count = _TENANTS // 10 if arguments.quick else _TENANTS
    with tempfile.TemporaryDirectory(prefix="tenantry-batch-") as name:
        folder = Path(name)
        tenants = Tenants("ridge", folder / "tenants", count)
        tenants.write()
        env = {"PYTHONPATH": with_our_sources()["PYTHONPATH"]}
        with ours.running(tenants, ours.file_ids(tenants), folder / "ours", env, python=python) as own:
            bodies = _json_bodies(tenants)
            tables = _arrow_bodies(python, bodies, folder)
            _warm(own, bodies)
            _check(own, tenants, bodies, tables, python)
            forms: dict[str, Callable[[], Figure]] = {
                "single": lambda: _single(own),
                "json": lambda: _batches(own, bodies, "application/json"),
                "arrow": lambda: _batches(own, tables, _ARROW),
            }
            seen: dict[str, list[Figure]] = {form: [] for form in forms}
            for turn in range(arguments.rounds):
                for form in forms if turn % 2 == 0 else reversed(forms):
                    seen[form].append(forms[form]())
    print(f"{heading}\n")
    _show(seen, count)


_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout")  # of the tests, so that both share one environment


def _show(seen: dict[str, list[Figure]], count: int) -> None:
    names = {
        "single": "single requests, 16 connections",
        "json": f"requests of {_ROWS:,} rows, JSON",
        "arrow": f"requests of {_ROWS:,} rows, Arrow",
    }
    for form, figures in seen.items():
        per_s, cpu_us = median(f.per_s for f in figures), median(f.cpu_us for f in figures)
        print(f"{names[form]:36} {per_s:12,.0f} rows/s {cpu_us:8.2f} us of CPU a row")
    for form, other, target in (("json", "single", _RATIO), ("arrow", "json", _ARROW_RATIO)):
        pairs = list(zip(seen[form], seen[other], strict=True))
        by_rate = sorted(mine.per_s / theirs.per_s for mine, theirs in pairs)
        by_cpu = median(theirs.cpu_us / mine.cpu_us for mine, theirs in pairs)
        middle = median(by_rate)
        verdict = "met" if middle >= target else "MISSED"
        spread = report.spread(by_rate[0], middle, by_rate[-1])
        judged = f"target at least {target:g} x: {verdict}"
        print(f"{form} for {other}: {spread} x, by CPU {by_cpu:.1f} x; {judged}")
    print(f"{count:,} tenants, {len(ROW)} columns; one row for each tenant")


def _json_bodies(tenants: Tenants) -> list[bytes]:
    rows = [{"user_id": tenants.user_id(n), **ROW} for n in range(tenants.count)]
    return [orjson.dumps({"rows": rows[at : at + _ROWS]}) for at in range(0, len(rows), _ROWS)]


def _arrow_bodies(python: Path, bodies: Sequence[bytes], folder: Path) -> list[bytes]:
    lines = [
        orjson.dumps({"number": number, "rows": orjson.loads(body)["rows"]})
        for number, body in enumerate(bodies)
    ]
    subprocess.run(  # noqa: S603 - ours
        [str(python), "-c", _WRITE, str(folder / "%d.arrow")], input=b"\n".join(lines), check=True
    )
    return [(folder / f"{number}.arrow").read_bytes() for number in range(len(bodies))]


def _warm(own: Endpoint, bodies: Sequence[bytes]) -> None:
    """Load every model: a batch waits for as many as load in its time, and says which did not."""
    began_s = time.perf_counter()
    for body in bodies:
        while _posted(own, body, "application/json").count(b'"ModelLoading"'):
            pass
    print(f"warm after {time.perf_counter() - began_s:.0f} s", file=sys.stderr, flush=True)


def _check(
    own: Endpoint,
    tenants: Tenants,
    bodies: Sequence[bytes],
    tables: Sequence[bytes],
    python: Path,
) -> None:
    expected = linear_answers(tenants.count)
    seen: list[float] = []
    for body, table in zip(bodies, tables, strict=True):
        answer = orjson.loads(_posted(own, body, "application/json"))
        assert answer["errors"] == [], answer["errors"][:3]
        data = _posted(own, table, _ARROW)
        made = subprocess.run([str(python), "-c", _READ], input=data, capture_output=True, check=True)  # noqa: S603
        predictions, errors = json.loads(made.stdout)
        assert predictions == answer["predictions"]
        assert not any(errors)
        seen += answer["predictions"]
    for n, value in enumerate(seen):
        assert math.isclose(value, expected[n], rel_tol=1e-9), (n, value, expected[n])
    for n in random.Random(1).sample(range(tenants.count), min(_CHECKED, tenants.count)):  # noqa: S311
        assert endpoint.ask(own, n) == seen[n], n


def _single(own: Endpoint) -> Figure:
    spent_s, began_s = _cpu_s(own.pid), time.perf_counter()
    load = wrk.run(own, _SECONDS)
    assert time.perf_counter() > began_s
    return Figure(load.per_s, (_cpu_s(own.pid) - spent_s) / load.requests * 1e6)


def _batches(own: Endpoint, bodies: Sequence[bytes], media: str) -> Figure:
    """Send one request after the other."""
    spent_s, began_s = _cpu_s(own.pid), time.perf_counter()
    for _ in range(max(1, _TENANTS // len(own.requests))):
        for body in bodies:
            _posted(own, body, media)
    took_s = time.perf_counter() - began_s
    rows = max(len(own.requests), _TENANTS)
    return Figure(rows / took_s, (_cpu_s(own.pid) - spent_s) / rows * 1e6)


def _posted(own: Endpoint, body: bytes, media: str) -> bytes:
    address = urlsplit(own.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
    try:
        connection.request("POST", "/predict", body, {"Content-Type": media})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, data[:500]
    return data


def _cpu_s(pid: int) -> float:
    """CPU of a process and everything below it, so far."""
    parents: dict[int, list[tuple[int, int]]] = {}
    own = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended
        ticks = int(fields[11]) + int(fields[12])
        child = int(stat.parent.name)
        parents.setdefault(int(fields[1]), []).append((child, ticks))
        own = ticks if child == pid else own
    total, below = own, [pid]
    while below:
        for child, ticks in parents.get(below.pop(), ()):
            total += ticks
            below.append(child)
    return total / os.sysconf("SC_CLK_TCK")

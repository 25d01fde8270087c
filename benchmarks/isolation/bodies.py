"""Legal bodies of 8 MiB, some at once to one server, and what others notice: a row for each kind of body.

Run `python -m benchmarks.isolation.bodies [KIND …]`. A process beside asks for /healthz and for a warm
prediction of another tenant every 50 ms. The holds of the event loop of over 20 ms are the figures of the
server's own watchdog, which writes each of them to a file here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table
from tests.support.network.ports import free_ports
from tests.support.processes import servers as processes
from tests.support.processes.servers import Servers

from benchmarks.isolation import large
from benchmarks.isolation.large import Large
from tenantry_server.grpc_v2.messages import SERVICE

_SERVER = """
import json, os
from tenantry_server import watchdog
from tenantry_server.__main__ import main
count = watchdog.Holds.add
def add(self, seconds, stack):
    with open(os.environ["HOLDS"], "a") as file:
        file.write(json.dumps([seconds, stack()]) + "\\n")
    count(self, seconds, stack)
watchdog.Holds.add = add
main()
"""
_PROBE = """
import http.client, sys, threading, time
from urllib.parse import urlsplit
url, over = urlsplit(sys.argv[1]), threading.Event()
said = {}
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
    said[name] = f"{took[len(took) // 2]:.0f} / {took[-1]:.0f}"
row = b'[{"a":1,"b":2}]'
asked = [("/healthz", "GET", "/healthz", None), ("a warm prediction", "POST", "/predict/small", row)]
threads = [threading.Thread(target=probe, args=each) for each in asked]
[each.start() for each in threads]
sys.stdin.read()
over.set()
[each.join() for each in threads]
print(said["/healthz"], said["a warm prediction"], sep=";")
"""


def main() -> None:
    """Print one table."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.isolation.bodies", description=__doc__)
    options.add_argument("kinds", nargs="*", help="words in the names of kinds; without any, all of them")
    options.add_argument("--at-once", type=int, default=6)
    options.add_argument("--stacks", action="store_true", help="print what held the loop")
    given = options.parse_args()
    table = Table(title=f"{given.at_once} bodies at once; load average {os.getloadavg()[0]:.1f} before")
    for column in ("body", "MiB", "answers", "s", "resident, MiB"):
        table.add_column(column)
    for column in ("/healthz", "a warm prediction"):
        table.add_column(f"{column} p50 / max, ms")
    for column in ("longest hold, ms", "holds"):
        table.add_column(column)
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        holds = Path(folder) / "holds"
        settings = {
            "TENANTRY_PREDICT_TIMEOUT_S": "60",
            "TENANTRY_GRPC_PORT": str(port),
            "HOLDS": str(holds),
        }
        with processes.running(Path(folder), 1, _Watched, **settings) as servers:
            servers.hold_all("server-0")
            large.add_models(servers, "server-0")
            servers.until_acknowledged()
            url = servers.url("server-0")
            for user_id in ("small", "large"):
                _sent(Large("", f"/predict/{user_id}", b'[{"a":1,"b":2}]'), url, port)
            for asked in large.requests(given.kinds):
                _sent(asked, url, port)
                holds.write_text("")
                row = _under_load(asked, given.at_once, url, port)
                held = [json.loads(line) for line in holds.read_text().splitlines()]
                longest = max((seconds for seconds, _ in held), default=0.0)
                row = *row, f"{longest * 1e3:.0f}", str(len(held))
                print(*row, sep=" | ", flush=True)
                table.add_row(*row)
                for seconds, stack in held if given.stacks else ():
                    print(f"{seconds * 1e3:.0f} ms\n{stack}")
    Console(width=160).print(table)


class _Watched(Servers):
    command = sys.executable, "-c", _SERVER


def _under_load(asked: Large, at_once: int, url: str, port: int) -> tuple[str, ...]:
    answers: Counter[str] = Counter()

    def send() -> None:
        answers[_sent(asked, url, port)] += 1

    command = [sys.executable, "-c", _PROBE, url]
    with subprocess.Popen(  # noqa: S603 - our own code
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as probe:
        began_s = time.monotonic()
        senders = [threading.Thread(target=send) for _ in range(at_once)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        took_s = time.monotonic() - began_s
        time.sleep(0.3)  # what is freed is freed after the answer
        noticed, _ = probe.communicate()
    return (
        asked.name,
        f"{len(asked.body) / (1 << 20):.1f}",
        ", ".join(f"{count} x {what}" for what, count in answers.items()),
        f"{took_s:.1f}",
        f"{_resident_bytes(url) / (1 << 20):.0f}",
        *noticed.strip().split(";"),
    )


def _sent(asked: Large, url: str, port: int) -> str:
    """Send a request; return its status, and how long the answer is."""
    if asked.is_grpc:
        unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", unlimited) as channel:
            call: Any = channel.unary_unary(f"/{SERVICE}/{asked.path}")
            try:
                return f"OK {len(call(asked.body, timeout=120)) >> 10} KiB"
            except grpc.RpcError as error:
                return f"refused: {error}"[:80]
    request = urllib.request.Request(url + asked.path, data=asked.body, headers=asked.headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return f"{answer.status} {len(answer.read()) >> 10} KiB"
    except urllib.error.HTTPError as refused:
        return f"{refused.status} {refused.read()[:60]!r}"


def _resident_bytes(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return next(
        float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes ")
    )


if __name__ == "__main__":
    main()

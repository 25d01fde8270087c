"""A server of `POST /predict` in this process, which answers rows of many users as a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from tenantry.scoring.frames import ARROW, LINES

Row = dict[str, Any]


@dataclass
class Failed(Exception):
    """What a row is answered with that has no prediction."""

    status: int
    reason: str
    message: str


@dataclass
class Asked:
    """One request as it came."""

    media: str
    key: str
    rows: list[Row]


@dataclass
class BatchServer:
    """What it answers, and what it was asked.

    Attributes:
        url: its address.
        model: from a row to its prediction; raises `Failed`.
        refuse: from the number of a request to a status with headers, for a whole request; None: answer it.
            The status 0 closes the connection.
        arrow: whether it reads Arrow.
    """

    model: Callable[[Row], Any] = lambda row: row["x"] * 2
    refuse: Callable[[Asked, int], tuple[int, dict[str, str]] | None] = lambda _asked, _number: None
    arrow: bool = True
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, asked: Asked, user_column: str) -> bytes:
        """The body of an answer."""
        rows = [self._row(row, number, user_column) for number, row in enumerate(asked.rows)]
        if asked.media == LINES:
            return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue().to_pybytes())

    def _row(self, row: Row, number: int, user_column: str) -> Row:
        answer: Row = {user_column: row[user_column], "prediction": None, "error": None, "reason": None}
        try:
            return {**answer, "prediction": self.model(row), "status": 200}
        except Failed as why:
            words = f"row {number}, {why.message}"
            return {**answer, "error": words, "reason": why.reason, "status": why.status}


@contextmanager
def running(server: BatchServer) -> Iterator[BatchServer]:
    """It listens as long as the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = urlsplit(self.path)
            assert parts.path == "/predict"
            media = self.headers["Content-Type"]
            if media == ARROW and not server.arrow:
                return self._reply(415, b'{"error": {"reason": "UnknownMediaType", "message": "no"}}', {})
            rows = _arrow(body) if media == ARROW else [json.loads(line) for line in body.splitlines()]
            asked = Asked(media, self.headers.get("Authorization", ""), rows)
            with server.lock:
                server.asked.append(asked)
                number = len(server.asked) - 1
            refused = server.refuse(asked, number)
            if refused is not None and refused[0] == 0:
                self.close_connection = True
                return None
            if refused is not None:
                words = {"error": {"reason": "Scripted", "message": f"scripted {refused[0]}"}}
                return self._reply(refused[0], json.dumps(words).encode(), refused[1])
            column = parse_qs(parts.query)["user_column"][0]
            return self._reply(200, server.answer(asked, column), {"Content-Type": media})

        def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def _arrow(body: bytes) -> list[Row]:
    with pa.ipc.open_stream(body) as reader:
        rows: list[Row] = reader.read_all().to_pylist()
    return rows

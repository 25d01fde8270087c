"""An S3 server that has only what all of them have: the real one behind a proxy that refuses the rest.

No aws-chunked body, no checksum headers or trailers, no conditional requests; and its ETags are weak, as
behind a proxy that compresses.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_REFUSED = (
    "x-amz-trailer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-mode",
    "if-match",
    "if-none-match",
)
_HOP = ("connection", "transfer-encoding", "keep-alive", "content-length")
_ERROR = b"<Error><Code>NotImplemented</Code><Message>not here</Message></Error>"


@contextmanager
def running(upstream_url: str, *, weak: bool = True) -> Iterator[str]:
    """The URL of such a store, whose objects are those of the real one."""
    upstream = urlsplit(upstream_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            given = {name.lower(): value for name, value in self.headers.items()}
            if any(name in given for name in _REFUSED) or "aws-chunked" in given.get(
                "content-encoding", ""
            ):
                self._send(501, {}, _ERROR)
                return
            connection = HTTPConnection(upstream.hostname or "", upstream.port, timeout=30)
            try:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
                if weak:
                    tags = {name for name in headers if name.lower() == "etag"}
                    headers |= {name: f"W/{headers[name]}" for name in tags}
                length = answer.getheader("Content-Length") if self.command == "HEAD" else None
                self._send(answer.status, headers, answer.read(), length)
            finally:
                connection.close()

        do_GET = do_HEAD = do_PUT = _answer  # noqa: N815 - the standard library's own names

        def _send(
            self, status: int, headers: dict[str, str], body: bytes, length: str | None = None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        serving.join()

"""An application that asks the sidecar in its pod for predictions, with nothing but the standard library.

`GET /price/STORE?km=5` answers with the prediction of that store's own model.
"""

import http.client
import http.server
import json
import os
import socket
import sys
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

TIMEOUT_S = 5.0


class Sidecar(http.client.HTTPConnection):
    """HTTP over the Unix socket that the sidecar shares with this container."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket; `http.client` calls it."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def predict(path: str, user_id: str, row: dict[str, float]) -> tuple[int, Any]:
    """Ask for one row; returns the HTTP status and what the sidecar said.

    Raises:
        OSError, http.client.HTTPException: the sidecar did not answer.
    """
    connection = Sidecar(path)
    try:
        connection.request("POST", f"/predict/{quote(user_id, safe='')}", json.dumps([row]))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /price/STORE, and /healthz for the kubelet."""

    path_of_sidecar: str

    def do_GET(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        if url.path == "/healthz":
            return self._answer(200, {"ok": True})
        if not url.path.startswith("/price/"):
            return self._answer(404, {"error": "ask for /price/STORE?km=5"})
        try:
            row = {name: float(value) for name, value in parse_qsl(url.query)}
            status, said = predict(self.path_of_sidecar, unquote(url.path.removeprefix("/price/")), row)
        except ValueError as error:
            return self._answer(400, {"error": str(error)})
        except (OSError, http.client.HTTPException) as error:
            return self._answer(503, {"error": f"the sidecar does not answer: {error}"})
        if status != 200:  # the sidecar's words say why
            return self._answer(status, said)
        return self._answer(200, {"price": said[0]})

    def _answer(self, status: int, body: object) -> None:
        written = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)


def main() -> None:
    """Serve until the process is told to end."""
    Handler.path_of_sidecar = os.environ["SIDECAR_SOCKET"]
    address = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080"))  # noqa: S104 - a pod
    with http.server.ThreadingHTTPServer(address, Handler) as server:
        print(f"listening on port {server.server_port}", file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

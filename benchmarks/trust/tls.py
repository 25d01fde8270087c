"""CPU of a server for one request, with and without TLS: ``python -m benchmarks.trust.tls``.

One server takes both on one port. The clock is that of its thread alone, so the client, in another thread
of this process, does not count. Rounds alternate, and each figure is the least of its rounds, which other
processes of the machine disturb the least.
"""

import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.network.certificates import Authority
from tests.support.network.secure_server import ROW, SecureServer, raw, secure

from tenantry.trust.tls import Mode

ROUNDS, REQUESTS, CONNECTIONS = 30, 500, 30
REQUEST = b"POST /predict/ann HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(ROW), ROW)
_WARMING = 200


def ask(connection: socket.socket, times: int) -> None:
    """Send a request and read its answer, again and again; an answer comes in one piece here."""
    for _ in range(times):
        connection.sendall(REQUEST)
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer


def main() -> None:
    """Measure, and print a line for each."""
    authority = Authority()
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    with tempfile.TemporaryDirectory() as name:
        authority.issue().write(Path(name), authority)
        with SecureServer(Path(name), Mode.OPTIONAL) as server:
            kinds: dict[str, Callable[[], socket.socket]] = {
                "plain": lambda: raw(server.port),
                "TLS": lambda: secure(server.port, trusting),
            }
            requests = dict.fromkeys(kinds, float("inf"))
            connections = dict.fromkeys(kinds, float("inf"))
            kept = {kind: opened() for kind, opened in kinds.items()}
            for each in kept.values():
                ask(each, _WARMING)
            for _ in range(ROUNDS):
                for kind, opened in kinds.items():
                    server.quick.clear()
                    began_s = server.cpu_s()
                    ask(kept[kind], REQUESTS)
                    requests[kind] = min(requests[kind], (server.cpu_s() - began_s) / REQUESTS)
                    assert len(server.quick) == REQUESTS, "the fast path answers"
                    began_s = server.cpu_s()
                    for _ in range(CONNECTIONS):
                        with closing(opened()) as new:
                            ask(new, 1)
                    took_s = (server.cpu_s() - began_s) / CONNECTIONS
                    connections[kind] = min(connections[kind], took_s)
            for each in kept.values():
                each.close()
    for kind in kinds:
        print(
            f"{kind:6} {requests[kind] * 1e6:7.1f} us a request of a kept connection, "
            f"{connections[kind] * 1e6:7.1f} us for a connection with one request"
        )


if __name__ == "__main__":
    began_s = time.monotonic()
    main()
    print(f"took {time.monotonic() - began_s:.0f} s")

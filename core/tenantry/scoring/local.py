"""A model server of this process's own, for scoring without a fleet.

It is a child, which runs models in workers of its own as every server does; this process runs no tenant's
code. It listens on a socket in a folder that only this user may enter, and ends with this process.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

from tenantry.client.errors import NoServer
from tenantry.scoring.asking import UNIX

_BACKLOG = 64
_STOP_S = 15.0
_LAST_WORDS = 2000  # characters of its log, where it ended


class LocalServer:
    """A running server.

    Args:
        source: a folder of manifests, or the URL of a registry.

    Attributes:
        url: its address.

    Raises:
        NoServer: the server's side is not installed here, or this system has no such sockets.
    """

    def __init__(self, source: str) -> None:
        if find_spec("tenantry_cli") is None or find_spec("aiohttp") is None:
            raise NoServer("scoring without servers needs the server side: pip install 'tenantry[all]'")
        if not hasattr(socket, "AF_UNIX"):
            raise NoServer("scoring without servers needs a system with Unix sockets; give a server's url")
        self._folder = Path(tempfile.mkdtemp(prefix="tenantry-score-"))
        self._log = self._folder / "log"
        path = self._folder / "socket"
        self.url = f"{UNIX}{path}"
        read, self._lifeline = os.pipe()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, self._log.open("wb") as log:
            listening.bind(str(path))
            listening.listen(_BACKLOG)  # what is asked before it serves waits for it
            argv = [sys.executable, "-m", "tenantry_cli.local_server", "--source", source]
            argv += ["--socket-fd", str(listening.fileno()), "--lifeline-fd", str(read)]
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                argv,
                pass_fds=[listening.fileno(), read],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
        os.close(read)
        self._pid = os.getpid()
        self._closing = threading.Lock()
        self._closed = False

    def check(self) -> None:
        """Do nothing while the server runs.

        Raises:
            NoServer: it ended; with its last words.
        """
        status = self._process.poll()
        if status is None or self._closed:
            return
        lines = self._log.read_text(errors="replace")[-_LAST_WORDS:].strip().splitlines()
        words = lines[-1] if lines else f"exit status {status}"
        raise NoServer(f"the local server ended: {words.removeprefix('error: ')}")

    def close(self) -> None:
        """End the server; a process that was forked off this one leaves it running."""
        with self._closing:
            if self._closed or self._pid != os.getpid():
                return
            self._closed = True
        os.close(self._lifeline)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

"""What a kubelet does for pods that run once: their command, as a process here, and their status.

Owns: one namespace, which it looks at until it is closed. Knows no image, volume or probe.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from tests.support.kubernetes.control_plane import ControlPlane

_LOOK_S = 0.1
_COMMAND_S = 180.0


class Kubelet:
    """Runs the pods of a namespace that are Pending, each one once.

    Args:
        here: turns a container's command into what this machine runs.

    Attributes:
        ran: the name of each pod with its exit status and what it printed.
    """

    def __init__(
        self, plane: ControlPlane, namespace: str, here: Callable[[Sequence[str]], Sequence[str]]
    ) -> None:
        self._plane = plane
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._here = here
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.ran: list[tuple[str, int, str]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            status, pods = self._plane.request("GET", self._pods)
            for pod in pods["items"] if status == 200 else ():
                if pod["status"].get("phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]:
                    self._start(pod)

    def _start(self, pod: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        done = subprocess.run(
            self._here(container["command"]),
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_S,
        )
        name = pod["metadata"]["name"]
        self.ran.append((name, done.returncode, done.stdout + done.stderr))
        pod["status"]["phase"] = "Failed" if done.returncode else "Succeeded"
        self._plane.request("PUT", f"{self._pods}/{name}/status", pod)


def with_this_python(command: Sequence[str]) -> list[str]:
    """The command with the interpreter of the tests in the place of the image's."""
    python, *arguments = command
    assert python == "python"
    return [sys.executable, *arguments]

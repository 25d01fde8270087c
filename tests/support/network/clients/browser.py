"""A real browser without a window: Debian's Chromium, driven by the DevTools protocol over a pipe.

Source: https://chromedevtools.github.io/devtools-protocol/. Over a pipe (`--remote-debugging-pipe`) it
listens on no port; messages are JSON, each ended by a NUL.
"""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE_S

_INSTALL_S = 900
_NAMES = ("chromium", "chromium-browser", "google-chrome")


class BrowserMissing(RuntimeError):
    """No browser is installed, and none can be; the message says why."""


def provide() -> str:
    """Return the path of a browser, installed now from Debian where it is missing.

    Raises:
        BrowserMissing: that needs root, apt-get and a mirror that has it.
    """
    with Path("/var/tmp/tenantry-browser.lock").open("w") as lock:  # noqa: S108 - shared on purpose
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs beside this one may miss it too
        found = next(filter(None, map(shutil.which, _NAMES)), None)
        if found is None:
            _install()
            found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise BrowserMissing("the package chromium is installed, and has no chromium")
    return found


def _install() -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BrowserMissing("install chromium: only root can, with apt-get")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
    for argv in (["apt-get", "update"], install):
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, env=env, timeout=_INSTALL_S
        )
        if done.returncode != 0:
            raise BrowserMissing(f"{' '.join(argv)}: {done.stderr[-500:]}")


class Tab:
    """One page of a running browser.

    Attributes:
        problems: what the page's console said, and requests and scripts that the browser refused.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.problems: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result.

        Raises:
            AssertionError: the browser refused it, or did not answer.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self.send("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def value(self, script: str) -> Any:
        """Return what an expression of JavaScript is."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Return the first true value of an expression; the page may be another one in between."""
        give_up_s = time.monotonic() + PATIENCE_S
        value = None
        while time.monotonic() < give_up_s:
            with contextlib.suppress(AssertionError):  # a page that is being replaced
                value = self.value(script)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"{script}: not within {PATIENCE_S:g} s, last {value!r}; {self.problems}")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key and let it go."""
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **keys)
        self.send("Input.dispatchKeyEvent", type="keyUp", **keys)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def look(self, file: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Write a screenshot."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        picture = self.send("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(picture))

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = os.read(self._read, 1 << 16)
            assert piece, "the browser is gone"
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        said = message.get("params", {})
        if message.get("method") == "Log.entryAdded":
            self.problems.append(
                f"{said['entry']['source']}: {said['entry']['text']} {said['entry'].get('url')}"
            )
        elif message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(said["exceptionDetails"])[:500])
        elif message.get("method") == "Runtime.consoleAPICalled":
            self.problems.append(json.dumps(said["args"])[:500])


@contextmanager
def browsing(profile: Path) -> Iterator[Tab]:
    """Start a browser for the block, with a profile of its own, and give one page of it.

    Raises:
        BrowserMissing: there is none.
    """
    program = provide()
    to_browser, from_browser = os.pipe(), os.pipe()
    argv = [program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    argv += ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    argv += ["--disable-background-networking", "--disable-component-update", "--no-proxy-server"]
    argv += ["--no-sandbox"] * (os.geteuid() == 0)  # Chromium refuses root with it; these are our own pages
    # It reads descriptor 3 and writes descriptor 4.
    moved = f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
    browser = subprocess.Popen(
        ["bash", "-c", moved, "bash", *argv],  # noqa: S607
        pass_fds=(to_browser[0], from_browser[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        yield Tab(to_browser[1], from_browser[0])
    finally:
        os.close(to_browser[1])  # it ends when nobody can write to it
        with contextlib.suppress(subprocess.TimeoutExpired):
            browser.wait(10)
        browser.kill()
        browser.wait()
        os.close(from_browser[0])

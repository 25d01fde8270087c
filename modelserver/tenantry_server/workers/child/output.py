"""What models print: to the log with the model's name, bounded; and where a process says that it is."""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

_AT_ONCE_BYTES = 64 << 10
_LINE_CHARACTERS = 500
_LOGGED_CHARACTERS = 16 << 10  # of one worker, in each interval
_EVERY_S = 10.0
_RECENT_CHARACTERS = 8 << 10
_FRAMES = 3
_FRAME = re.compile(r'File "([^"]+)", line (\d+) in (\S+)')


class Output:
    """Reads what one worker prints.

    Args:
        fd: to read from; closed by `close`.
        about: returns the model that runs, or ran last.
    """

    def __init__(self, fd: int, about: Callable[[], str]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._about = about
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)
        self._open = True
        self._recent = ""
        self._line = ""
        self._since_s = 0.0
        self._logged = 0
        self._quiet = False

    def forget(self) -> None:
        """Forget what was printed until now, as far as `place` is concerned."""
        self._recent = ""

    def place(self) -> str:
        """Return where the process said that it is: functions, the innermost first, with file and line."""
        self._read()
        frames = _FRAME.findall(self._recent.rpartition("most recent call first")[2])[:_FRAMES]
        if not frames:
            return "it did not say where it is"
        return "in " + ", called by ".join(f"{function}, {file}:{line}" for file, line, function in frames)

    def close(self) -> None:
        """Read what is left, and close."""
        self._read()
        if self._open:
            self._shut()
        if self._line:
            self._log(self._line)

    def _shut(self) -> None:
        self._open = False
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        if not self._open:
            return
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, _AT_ONCE_BYTES)
            if not data:  # every process that could print is gone
                self._shut()
        text = data.decode(errors="replace")
        self._recent = (self._recent + text)[-_RECENT_CHARACTERS:]
        *lines, rest = (self._line + text).split("\n")
        for line in lines:
            self._log(line)
        self._line = rest[:_LINE_CHARACTERS]

    def _log(self, line: str) -> None:
        now_s = time.monotonic()
        if now_s - self._since_s > _EVERY_S:
            self._since_s, self._logged, self._quiet = now_s, 0, False
        self._logged += len(line) + 1
        if self._logged <= _LOGGED_CHARACTERS:
            log.info("a model printed", model=self._about(), text=line[:_LINE_CHARACTERS])
        elif not self._quiet:
            self._quiet = True
            log.warning("a model prints too much; the rest is dropped for a while", model=self._about())

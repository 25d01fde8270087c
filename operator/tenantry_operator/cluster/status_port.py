"""The way to the status writer from other threads than its own."""

import asyncio
import contextlib
from collections.abc import Callable

from tenantry_operator.cluster.status_writer import StatusWriter


class StatusPort:
    """Passes calls to a StatusWriter on its event loop; drops them while there is none.

    A call that is dropped is made up for: a writer that starts is given every claim, and a full listing
    shows every object.
    """

    # Set by the loop and read by the other threads; each access is one operation on one reference.

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: StatusWriter | None = None

    def open(self, writer: StatusWriter) -> None:
        """Begin; call it on the loop of the writer."""
        self._writer = writer
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End: the loop is about to close."""
        self._loop = None

    def knows(self, uid: str, resource_version: str) -> bool:
        """Return whether the writer has seen, or written, this version of an object last."""
        return self._writer is not None and self._writer.knows(uid, resource_version)

    def call(self, act: Callable[[StatusWriter], None]) -> None:
        """Have `act` called on the loop; may be called from any thread."""
        loop, writer = self._loop, self._writer
        if loop is not None and writer is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: this process is stopping
                loop.call_soon_threadsafe(act, writer)

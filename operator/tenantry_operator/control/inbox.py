"""What the sources and the database bring to the controller's thread: listings, and wake-ups."""

import queue
from contextlib import suppress

from tenantry_operator.declared import Listing


class Inbox:
    """Collects listings of any thread for one reader, and merges those that wait together."""

    def __init__(self) -> None:
        self._listings: queue.SimpleQueue[Listing | None] = queue.SimpleQueue()

    def put(self, listing: Listing) -> None:
        """Hand over what a source declares now; may be called from any thread."""
        self._listings.put(listing)

    def wake(self) -> None:
        """End the reader's wait; may be called from any thread."""
        self._listings.put(None)

    def take(self, *, wait_s: float) -> tuple[bool, Listing | None]:
        """Return whether anything arrived, and what as one listing; wait up to `wait_s` for it."""
        news: list[Listing] = []
        arrived = False
        with suppress(queue.Empty):
            while True:
                newer = self._listings.get(timeout=wait_s)
                arrived, wait_s = True, 0.0
                if newer is not None:
                    news.append(newer)
        return arrived, Listing.merged(news) if news else None

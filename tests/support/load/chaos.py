"""Faults of every kind, drawn by a seed, one after the other: made, lasting a while, and mended.

Owns: the kinds, their order and how long each lasts. Refuses: judging what comes of them.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from tests.support.databases.tcp_postgres import TcpPostgres
from tests.support.load.town import Town
from tests.support.network.firewall import Firewall, Link
from tests.support.processes.fleet import OPERATOR
from tests.support.stores.s3_door import Doors

SHORTEST_S, LONGEST_S = 1.0, 6.0  # from less than a lease to twice as long
_BETWEEN_S = 1.5

KILL, STOP = "kill {}", "stop {}"  # a server's name goes in


class Chaos:
    """Faults that happen to a town in a thread of their own, until stopped; then all is mended.

    Args:
        town: all of whose processes run.
        wall: without it nobody is cut off.
        spared: a server that is never killed or stopped, so that its memory can be watched.

    Attributes:
        history: what happened, to be read where a test fails.
        failure: what ended it too early; None: nothing.
    """

    def __init__(
        self,
        town: Town,
        database: TcpPostgres,
        doors: Doors,
        wall: Firewall | None,
        *,
        seed: int,
        spared: str,
    ) -> None:
        self._town = town
        self._database = database
        self._doors = doors
        self._wall = wall
        self._random = random.Random(seed)  # noqa: S311 - to be replayed, not to be secret
        self._spared = spared
        self._stop = threading.Event()
        self.history: list[str] = []
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)

    @contextmanager
    def happening(self) -> Iterator[None]:
        """Faults for the length of the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        kinds: list[str] = []
        try:
            while not self._stop.wait(_BETWEEN_S):
                if not kinds:  # each kind once before any comes again
                    kinds = sorted(self._faults())
                    self._random.shuffle(kinds)
                self._one(kinds.pop())
        except Exception as error:
            self.failure = error

    def _one(self, kind: str) -> None:
        victim = self._random.choice(sorted(self._town.fleet.members))
        lasts_s = self._random.uniform(SHORTEST_S, LONGEST_S)
        if kind in (KILL, STOP) and victim == self._spared:
            victim = next(name for name in sorted(self._town.fleet.members) if name != self._spared)
        self.history.append(f"{kind.format(victim)} for {lasts_s:.1f} s")
        with self._faults()[kind](victim):
            self._stop.wait(lasts_s)

    def _faults(self) -> Mapping[str, Callable[[str], AbstractContextManager[object]]]:
        faults: dict[str, Callable[[str], AbstractContextManager[object]]] = {
            KILL: self._dead,
            STOP: self._stopped,
            "pause {}": self._paused,
            "kill the operator": lambda _: self._dead(OPERATOR),
            "pause the operator": lambda _: self._paused(OPERATOR),
            "PostgreSQL away": lambda _: self._database.outage(),
            "S3 away": lambda _: self._doors.shut(),
        }
        if self._wall is not None:
            faults |= {
                "cut {} from SQL": lambda victim: self._cut((self._gid(victim), [self._database.port])),
                "cut {} from S3": lambda victim: self._cut(
                    (self._gid(victim), [self._town.door_port(victim)])
                ),
                "cut {} from its peers": lambda victim: self._cut(*self._town.links_to_peers(victim)),
            }
        return faults

    def _gid(self, victim: str) -> int:
        return self._town.fleet.members[victim].gid

    def _cut(self, *links: Link) -> AbstractContextManager[object]:
        return self._wall.cut(*links) if self._wall is not None else contextlib.nullcontext()

    @contextmanager
    def _dead(self, name: str) -> Iterator[None]:
        self._town.fleet.kill(name)
        try:
            yield
        finally:
            self._town.fleet.start(name)

    @contextmanager
    def _stopped(self, name: str) -> Iterator[None]:
        self._town.fleet.terminate(name)
        try:
            yield
        finally:
            self._town.fleet.until_gone(name)
            self._town.fleet.start(name)

    @contextmanager
    def _paused(self, name: str) -> Iterator[None]:
        self._town.fleet.pause(name)
        try:
            yield
        finally:
            self._town.fleet.wake(name)

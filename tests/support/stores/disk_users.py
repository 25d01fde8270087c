"""Processes that use a disk cache as hard as they can: `python -m tests.support.stores.disk_users`.

The first one imports everything and forks the others, so that each is there at once; whichever is killed
is replaced. Each prints a line of JSON for a round, and what it counted at the end.
"""

import hashlib
import json
import os
import random
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tenantry_server.artifacts.disk_cache import DiskCache


def content(key: str) -> bytes:
    """What belongs under a key, so that anybody can tell whether it is right: 4 KiB to 512 KiB."""
    seed = bytes.fromhex(key)
    return seed * (128 << (seed[0] % 8))


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def use(folder: Path, max_bytes: int, keys: int, rounds: int) -> None:
    """Read and keep at random, until it is done or alone."""
    disk = DiskCache(folder, max_bytes=max_bytes)
    parent = os.getppid()
    wrong = 0
    for _ in range(rounds):
        for number in random.sample(range(keys), 20):
            name = key(number)
            found = disk.read(name)
            wrong += found is not None and found != content(name)
            if found is None:
                disk.keep(name, content(name))
        disk.flush()
        _say({"pid": os.getpid()})
        if os.getppid() != parent:
            return
    _say({"pid": os.getpid(), "wrong": wrong, **asdict(disk.counts)})


def _say(what: dict[str, int]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")  # in one piece, among processes


def main(folder: Path, count: int, *limits: int) -> None:
    """Keep `count` of them running until as many have come to their end; told to stop, leave none."""
    running: set[int] = set()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ended = 0
    try:
        while ended < count:
            while len(running) + ended < count:
                # Told to stop between the two, it would leave one that it doesn't know of.
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
                child = os.fork()
                if child == 0:
                    use(folder, *limits)
                    os._exit(0)
                running.add(child)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            pid, status = os.wait()
            running.discard(pid)
            ended += status == 0
    finally:
        for pid in running:
            with suppress(ProcessLookupError):  # told to stop between its end and the next line
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

"""Cuts one process off from others of this machine, by nftables and the group that it runs under.

Owns: one table of ours, gone after the block; what a killed run left is removed by the next.
Refuses: starting processes. A process that is to be cut off must run under a group of its own.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_PREFIX = "tenantry_test_"
_MARK = 0x7E4A0000  # plus a number: of the connections that a cut is about
_INSTALL_S = 120
_PACKAGE = "nftables"

_NOBODY = (65_500, [9])

Link = tuple[int, Collection[int]]
"""A group id, and the ports of this machine that its processes must not reach."""


class FirewallMissing(RuntimeError):
    """This machine can't be told to drop packets; the message says why, and the way out."""


class Firewall:
    """Cuts that are made and mended while the block of `running` lasts."""

    def __init__(self) -> None:
        self._table = f"{_PREFIX}{os.getpid()}"
        self._numbers = count(1)
        _load(f"table inet {self._table} {{ }}")

    @contextmanager
    def cut(self, *links: Link) -> Iterator[None]:
        """Silence on these links for the length of the block: nobody is refused, nothing arrives.

        It holds for both directions and for connections that are open already, also after one side has
        closed its end.
        """
        number = next(self._numbers)
        mark, chain = hex(_MARK + number), f"cut_{number}"
        # A socket that its process has closed has no group any more, so the connection is marked.
        marks = "\n".join(
            f"meta skgid {gid} tcp dport {{ {', '.join(map(str, ports))} }} ct mark set {mark}"
            for gid, ports in links
            if ports
        )
        _load(
            f"table inet {self._table} {{ chain {chain} {{\n"
            f"type filter hook output priority 0; policy accept;\n{marks}\nct mark {mark} drop\n}}\n}}\n"
        )
        try:
            yield
        finally:
            _nft("delete", "chain", "inet", self._table, chain)

    def close(self) -> None:
        """Remove every rule."""
        _nft("delete", "table", "inet", self._table)


@contextmanager
def running() -> Iterator[Firewall]:
    """A firewall without a cut.

    Raises:
        FirewallMissing: not root, no nftables, or a kernel without them.
    """
    _provide()
    _sweep()
    wall = Firewall()
    try:
        with wall.cut(_NOBODY):  # a kernel may take a table and know no connection marks
            pass
        yield wall
    finally:
        wall.close()


def _provide() -> None:
    """Install nftables where they are missing: half a megabyte of Debian's."""
    if os.geteuid() != 0:
        raise FirewallMissing("only root may drop packets; run the tests as root in a container or a VM")
    with Path("/var/tmp/tenantry-nftables.lock").open("w") as lock:  # noqa: S108 - shared on purpose
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs beside this one may miss it too
        if shutil.which("nft"):
            return
        if not shutil.which("apt-get"):
            raise FirewallMissing(f"there is no nft and no apt-get; install {_PACKAGE}")
        for argv in (["apt-get", "update"], ["apt-get", "install", "--yes", _PACKAGE]):
            _apt(argv)


def _apt(argv: list[str]) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, env=env, timeout=_INSTALL_S
        )
    except subprocess.TimeoutExpired as late:
        raise FirewallMissing(f"{' '.join(argv)}: not within {_INSTALL_S} s") from late
    if done.returncode != 0:
        tail = done.stderr.strip().splitlines()[-1:] or ["no word why"]
        raise FirewallMissing(f"{' '.join(argv)}: {tail[0]}")


def _sweep() -> None:
    """Remove the tables of runs that are no more."""
    for pid in re.findall(rf"table inet {_PREFIX}(\d+)", _nft("list", "tables")):
        if not Path("/proc", pid).exists():
            _nft("delete", "table", "inet", f"{_PREFIX}{pid}")


def _load(rules: str) -> None:
    _nft("-f", "-", stdin=rules)


def _nft(*args: str, stdin: str = "") -> str:
    nft = shutil.which("nft") or _PACKAGE
    done = subprocess.run([nft, *args], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FirewallMissing(f"nft {' '.join(args)}: {done.stderr.strip() or done.returncode}")
    return done.stdout

"""Prometheus' `promtool`, of Debian's package `prometheus`: taken out of it, so no service is started."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

CACHE = Path.home() / ".cache" / "tenantry" / "promtool"
_PACKAGE = "prometheus"
_PATIENCE_S = 600


class PromtoolMissing(RuntimeError):
    """There is no promtool, and it can't be had; the message says why."""


def provide() -> str:
    """Return the path of promtool: that of PATH, else one that is taken from Debian's package once.

    Several processes may ask at once: one fetches it, the others wait.

    Raises:
        PromtoolMissing: apt can't download the package here.
    """
    found = shutil.which("promtool")
    if found is not None:
        return found
    CACHE.mkdir(parents=True, exist_ok=True)
    promtool = CACHE / "usr" / "bin" / "promtool"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not promtool.exists():
            _fetch(promtool)
    return str(promtool)


def check_rules(rules: Path) -> str:
    """Return what promtool has against a file of rules; empty: nothing, and every expression parses."""
    done = _run([provide(), "check", "rules", str(rules)])
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}"


def test_rules(*tests: Path) -> str:
    """Run promtool's unit tests of rules, of several files; return what failed; empty: nothing."""
    done = _run([provide(), "test", "rules", *map(str, tests)])
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}"


def _fetch(promtool: Path) -> None:
    missing = [tool for tool in ("apt-get", "dpkg-deb") if not shutil.which(tool)]
    if missing:
        raise PromtoolMissing(f"promtool is not on the PATH, and there is no {missing[0]} to fetch it with")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        download = ["apt-get", "download", "-o", "APT::Sandbox::User=root", _PACKAGE]
        if _run(download, folder).returncode != 0 and os.geteuid() == 0:
            _run(["apt-get", "update"], folder)  # a fresh image of a container has no lists
        debs = sorted(Path(folder).glob("*.deb"))
        if not debs:
            done = _run(download, folder)
            debs = sorted(Path(folder).glob("*.deb"))
            if not debs:
                raise PromtoolMissing(f"`{' '.join(download)}` refused: {done.stderr.strip()[-500:]}")
        done = _run(["dpkg-deb", "--extract", str(debs[0]), folder])
        inside = Path(folder) / promtool.relative_to(CACHE)
        if done.returncode != 0 or not inside.exists():
            raise PromtoolMissing(f"{debs[0].name} has no promtool: {done.stderr.strip()[-500:]}")
        promtool.parent.mkdir(parents=True, exist_ok=True)
        inside.rename(promtool)


def _run(argv: Sequence[str], folder: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
    )

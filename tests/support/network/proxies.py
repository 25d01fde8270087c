"""Proxies from Debian; those of examples/proxies as they stand there, before servers of a test."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.network.ports import free_ports, is_open
from tests.support.processes.child_process import Child
from tests.support.waiting import until

EXAMPLES = Path(__file__).parents[3] / "examples" / "proxies"
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy"}
_INSTALL_S = 600
_REFUSAL = Path("/usr/sbin/policy-rc.d")  # asked by Debian's packages whether to start their services


class ProxyMissing(RuntimeError):
    """A proxy is not installed, and can't be; the message says why."""


def provide(name: str) -> str:
    """Return the path of a proxy, installed now from Debian where it is missing; no service is started.

    Raises:
        ProxyMissing: that needs root and apt-get.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    with Path("/var/tmp/tenantry-proxies.lock").open("w") as lock:  # noqa: S108 - shared on purpose
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs beside this one may miss it too
        found = shutil.which(name, path=path)
        if found is None:
            _install(PACKAGES.get(name, name))
            found = shutil.which(name, path=path)
    if found is None:
        raise ProxyMissing(f"{PACKAGES.get(name, name)} is installed, and has no {name}")
    return found


def _install(package: str) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ProxyMissing(f"install {package}: only root can, with apt-get")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    with _no_services():
        install = ["apt-get", "install", "--yes", "--no-install-recommends", package]
        for argv in (["apt-get", "update"], install):
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, env=env, timeout=_INSTALL_S
            )
            if done.returncode != 0:
                raise ProxyMissing(f"{' '.join(argv)}: {done.stderr[-500:]}")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    if _REFUSAL.exists():
        yield
        return
    _REFUSAL.write_text("#!/bin/sh\nexit 101\n")
    _REFUSAL.chmod(0o755)
    try:
        yield
    finally:
        _REFUSAL.unlink()


@contextlib.contextmanager
def running(name: str, servers: Sequence[int], folder: Path) -> Iterator[str]:
    """The example of this proxy, with ports of 127.0.0.1 in the place of its servers; yields its URL."""
    program = provide(name)
    (port,) = free_ports(1)
    config = folder / f"{name}.conf"
    if name == "nginx":
        text = _filled("nginx.conf", servers).replace("listen 8000;", f"listen 127.0.0.1:{port};")
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(text.replace("http {\n", f"http {{\n  access_log off; {paths}\n", 1))
        user = "user root; " if os.geteuid() == 0 else ""
        rest = f"{user}daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;"
        argv = [program, "-p", str(folder), "-c", str(config), "-g", rest]
    else:
        config.write_text(_filled("haproxy.cfg", servers).replace("bind :8000", f"bind 127.0.0.1:{port}"))
        argv = [program, "-db", "-f", str(config)]
    child = Child(argv, log=folder / f"{name}.log", env={"PATH": os.environ.get("PATH", "")})
    try:
        until(lambda: is_open(port) or not child.running, f"{name} listens")
        assert child.running, (folder / f"{name}.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop(grace_s=30)


def _filled(example: str, servers: Sequence[int]) -> str:
    text = (EXAMPLES / example).read_text()
    assert len(re.findall(r"10\.0\.0\.\d:8080", text)) == len(servers)
    for number, port in enumerate(servers, 1):
        text = text.replace(f"10.0.0.{number}:8080", f"127.0.0.1:{port}")
    return text

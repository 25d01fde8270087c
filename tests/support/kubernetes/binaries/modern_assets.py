"""Find the modern server of CRDs, or build it once for every checkout on this machine.

Owns: when a core is modern enough alone, the cache outside the checkout, and how long a refusal holds.
Refuses: building (`modern_build`), running (`modern_plane`).
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.kubernetes.binaries import envtest_assets, modern_build
from tests.support.kubernetes.binaries.envtest_build import BuildFailed
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.modern_plane import ModernPlane

MODERN = (1, 30)  # CEL and selectable fields
AGAIN_S = 24 * 3600.0  # Debian unstable moves: what did not build today may tomorrow


class ModernUnavailable(RuntimeError):
    """Only the core is to be had here; the message says why."""


def plane(assets: Path, *, users: Iterable[tuple[str, Sequence[str]]] = ()) -> ControlPlane:
    """Make a control plane, not yet started, that knows CEL and selectable fields.

    Args:
        assets: of the core, which is enough by itself where it is `MODERN`.

    Raises:
        ModernUnavailable: the core is older, and nothing newer can be built here.
    """
    if _numbers(envtest_assets.server_version(assets)) >= MODERN:
        return ControlPlane(assets, users=users)
    binary = provide()
    return ModernPlane(assets, binary, _numbers((binary.parent / "version").read_text()), users=users)


def provide() -> Path:
    """Return the path of an apiextensions-apiserver, from the cache or built now (about 9 minutes).

    Raises:
        ModernUnavailable: it can't be built, or could not within the last day.
    """
    cache = envtest_assets._cache_folder().parent / "apiextensions"
    folder = cache / envtest_assets._platform_name()
    binary = folder / modern_build.BINARY
    if not binary.exists():
        envtest_assets._make(cache)
        with envtest_assets._sole_provider(cache, "apiextensions-apiserver"):
            if not binary.exists():  # still: nobody built it while we waited
                _build(folder)
    return binary


def _build(folder: Path) -> None:
    """Publish the binary, whole or not at all; remember a refusal."""
    cache, refusal, log = folder.parent, folder.parent / "refusal", folder.parent / "build.log"
    if refusal.exists() and time.time() < refusal.stat().st_mtime + AGAIN_S:
        raise ModernUnavailable(f"{refusal.read_text()}\nRemove {refusal} to try again")
    for abandoned in cache.glob("work-*"):  # we hold the lock, so their owners are dead
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=cache, ignore_cleanup_errors=True) as work:
        staged = envtest_assets._subfolder(work, "staged")
        envtest_assets._say(f"building apiextensions-apiserver, about 9 minutes; see {log}")
        try:
            modern_build.build(envtest_assets._subfolder(work, "build"), staged, log=log)
        except (BuildFailed, OSError) as error:
            refusal.write_text(f"no server of CRDs newer than the core could be built: {error}")
            raise ModernUnavailable(refusal.read_text()) from error
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)
    refusal.unlink(missing_ok=True)


def _numbers(version: str) -> tuple[int, int]:
    """Major and minor of v1.36.4."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)

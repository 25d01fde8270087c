"""A virtual environment for each peer, made once and kept outside the checkout.

Each server's holds the versions of scikit-learn and its kin that we have, so that all of them read the
very same files. Refuses: anything that would change our own environment.
"""

import fcntl
import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_ROOT = Path.home() / ".cache" / "tenantry" / "envs"
_SHARED = ("scikit-learn", "numpy", "scipy", "pandas", "joblib")
_INSTALL_S = 900


class PeerUnavailable(Exception):
    """It can't be installed or does not start; the table says so."""


def provide(name: str, requirements: tuple[str, ...], *, with_scikit_learn: bool = True) -> Path:
    """The ``bin`` folder of an environment that holds `requirements`, made now where there is none.

    Args:
        with_scikit_learn: and its kin, in our versions.

    Raises:
        PeerUnavailable: it can't be made.
    """
    shared = [f"{each}=={version(each)}" for each in _SHARED] if with_scikit_learn else []
    wanted = sorted([*requirements, *shared])
    key = hashlib.sha256(" ".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    folder = _ROOT / f"bench-{name}-{key}"
    _ROOT.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists():
            print(f"making an environment for {name}: {folder}", file=sys.stderr)
            _run(name, [sys.executable, "-m", "venv", "--clear", str(folder)])
            _run(name, [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted])
            complete.write_text("\n".join(wanted) + "\n")
    return folder / "bin"


def _run(name: str, argv: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - venv and pip
            argv, capture_output=True, text=True, check=False, timeout=_INSTALL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailable(f"{name} did not install: {error}") from error
    if done.returncode:
        problem = next(
            (line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), ""
        )
        raise PeerUnavailable(f"{name} did not install: {problem or done.stderr[-300:]}")

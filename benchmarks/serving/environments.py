"""A virtual environment for each peer, made once and kept outside the checkout.

Each holds the versions of scikit-learn and its kin that we have, so that all servers read the very same
files. Refuses: anything that would change our own environment.
"""

import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.support.environments import environment

_SHARED = ("scikit-learn", "numpy", "scipy", "pandas", "joblib")


class PeerUnavailable(Exception):
    """It can't be installed or does not start; the table says so."""


def provide(name: str, *requirements: str, with_scikit_learn: bool = True) -> Path:
    """The ``bin`` folder of an environment that holds `requirements`, made now where there is none.

    Args:
        with_scikit_learn: and its kin, in our versions.

    Raises:
        PeerUnavailable: it can't be made.
    """
    shared = [f"{each}=={version(each)}" for each in _SHARED] if with_scikit_learn else []
    try:
        return environment(f"bench-{name}", *requirements, *shared).parent
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        lines = str(error).splitlines()
        problem = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[0])
        raise PeerUnavailable(f"{name} did not install: {problem}") from error

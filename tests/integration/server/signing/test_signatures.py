"""Signatures, by processes that have `tenantry[signing]`: the environment for development has it not."""

import subprocess
import sys

import pytest

from tests.support.environments import CHECKOUT, with_signing


@pytest.mark.timeout(2400)
def test_signatures_with_the_library() -> None:
    """The cases in tests/apart; what they print is shown where one fails."""
    plugins = ("-p", "tests.conftest", "-p", "conftest")
    files = ("tests/apart/signature_cases.py", "tests/apart/signature_fleet_cases.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--noconftest", *plugins, *files],
        cwd=CHECKOUT,
        env=with_signing() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=2000,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"

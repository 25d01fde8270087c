"""PyTorch programs, in an environment of their own: PyTorch takes a gigabyte that few need."""

import subprocess

import pytest

from tests.support.environments import CHECKOUT, environment, our_requirements, with_our_sources

_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout")


@pytest.mark.timeout(2400)
def test_torch_programs() -> None:
    """The cases in tests/apart; what they print is shown where one fails."""
    python = environment("torch", *our_requirements("server", tools=_TOOLS), "torch==2.13.0")
    done = subprocess.run(
        [
            *(str(python), "-m", "pytest", "-q", "tests/apart/torch_cases.py", "--noconftest"),
            *("-W", "ignore::DeprecationWarning"),  # of TorchScript, which PyTorch will take out one day
        ],
        cwd=CHECKOUT,
        env=with_our_sources() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"

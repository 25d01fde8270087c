"""TensorFlow models, in an environment of their own: TensorFlow takes two gigabytes that few need."""

import subprocess
from pathlib import Path

import pytest

from tests.support.environments import CHECKOUT, environment, our_requirements, with_our_sources

_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout")
_CASES = ("tensorflow_cases", "tensorflow_size_cases", "tensorflow_server_cases")
_CASES_S = 1500


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of that environment; to make it takes one to three minutes, once."""
    ours = our_requirements("server", tools=_TOOLS)
    return environment("tensorflow", *ours, "keras==3.15.1", "tensorflow-cpu==2.21.0")


@pytest.mark.timeout(2400)
def test_tensorflow_models(python: Path) -> None:
    """The cases in tests/apart, in one process; what they print is shown where one fails."""
    done = subprocess.run(
        [
            *(str(python), "-m", "pytest", "-q", *(f"tests/apart/{name}.py" for name in _CASES)),
            "--noconftest",  # its fixtures need what is not installed there
            *("-W", "ignore::DeprecationWarning"),  # of Keras and TensorFlow, which trail numpy
        ],
        cwd=CHECKOUT,
        env=with_our_sources(),
        capture_output=True,
        text=True,
        check=False,
        timeout=_CASES_S,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"

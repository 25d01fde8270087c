"""Kinds of models whose libraries the environment for development does not have, in one of their own."""

import subprocess

import pytest

from tests.support.environments import CHECKOUT, environment, our_requirements, with_our_sources

_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout")
_LIBRARIES = ("catboost==1.2.10", "category-encoders==2.11.2", "imbalanced-learn==0.14.2")


@pytest.mark.timeout(2400)
def test_kinds_of_other_libraries() -> None:
    """The cases in tests/apart; what they print is shown where one fails."""
    python = environment("kinds", *our_requirements("server", tools=_TOOLS), *_LIBRARIES)
    done = subprocess.run(
        [
            *(str(python), "-m", "pytest", "-q", "tests/apart/kinds_cases.py", "--noconftest"),
            *("-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"),  # of those libraries
        ],
        cwd=CHECKOUT,
        env=with_our_sources() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"

"""Forecasting libraries, in two environments of their own: one beside our pins, one with pandas 2.

sktime 1.2 wants pandas before 3.1 and skforecast 0.26 pandas before 3, so they are tried with pandas 2.
"""

import subprocess
from pathlib import Path

import pytest

from tests.support.environments import (
    CHECKOUT,
    environment,
    our_requirements,
    with_forecasts,
    with_our_sources,
)

_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout")
_CASES_S = 600
_WITH_PANDAS_2 = ("pandas==2.3.3", "sktime==1.2.0", "skforecast==0.26.0")


def _python(cases: str) -> Path:
    """The Python of the environment of these cases; to make it takes one to two minutes, once."""
    if "pandas2" not in cases:
        return with_forecasts()
    ours = our_requirements("server", tools=_TOOLS)
    return environment(
        "forecasts-pandas2", *(each for each in ours if not each.startswith("pandas=")), *_WITH_PANDAS_2
    )


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("cases", ["forecast_cases", "forecast_worker_cases", "forecast_pandas2_cases"])
def test_forecasts_of_other_libraries(cases: str) -> None:
    """Each of the cases in tests/apart; what they print is shown where one fails."""
    done = subprocess.run(
        [
            *(str(_python(cases)), "-m", "pytest", "-q", f"tests/apart/{cases}.py"),
            "--noconftest",  # its fixtures need what is not installed there
            *("-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"),  # of those libraries
        ],
        cwd=CHECKOUT,
        env=with_our_sources() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_CASES_S,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"

"""`python -m examples.stores.forecasts`, in the environment that has its libraries."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.environments import CHECKOUT, with_forecasts, with_our_sources

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.timeout(1800)
def test_a_forecast_for_each_store(tmp_path: Path) -> None:
    """Twelve real series; it compares each forecast with the model's own and fails on a wrong one."""
    picture = tmp_path / "stores.png"
    done = subprocess.run(
        [
            *(str(with_forecasts()), "-m", "examples.stores.forecasts"),
            *("--items", "12", "--folder", str(tmp_path / "demo-data"), "--png", str(picture)),
        ],
        cwd=CHECKOUT,
        env=with_our_sources() | {"MPLBACKEND": "agg", "COLUMNS": "120", "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 of 12 forecasts equal the tenant's own model" in done.stdout
    assert picture.read_bytes().startswith(PNG)

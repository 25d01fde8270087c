"""Model folders that MLflow itself writes, in an environment of their own: its pins are not ours."""

import subprocess

import pytest

from tests.support.environments import CHECKOUT, environment, our_requirements, with_our_sources

_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "skops", "xgboost-cpu", "lightgbm", "onnx")
_MORE = ("onnxruntime", "skl2onnx", "cloudpickle")
# mlflow-skinny takes no cachetools 8, which is what constraints.txt pins.
_OLDER = "cachetools==7.3.3"
_LIBRARIES = ("mlflow-skinny==3.17.2", "catboost==1.2.10", "statsmodels==0.15.0", "prophet==1.5.0")


@pytest.mark.timeout(2400)
def test_folders_of_mlflow() -> None:
    """The cases in tests/apart; what they print is shown where one fails."""
    ours = our_requirements("server", tools=(*_TOOLS, *_MORE))
    ours = [each for each in ours if not each.startswith("cachetools")]
    python = environment("mlflow", *ours, _OLDER, *_LIBRARIES)
    done = subprocess.run(
        [
            *(str(python), "-m", "pytest", "-q", "tests/apart/mlflow_cases.py", "--noconftest"),
            *("-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"),  # of those libraries
            *("-W", "ignore::UserWarning"),  # MLflow's advice to authors
        ],
        cwd=CHECKOUT,
        env=with_our_sources() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"

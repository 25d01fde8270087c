"""The wheel, in an environment that has never seen this checkout."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    """No top-level `operator`, which would shadow the standard library's; migrations and types are in."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"tenantry", "tenantry_operator", "tenantry_server", "tenantry_cli"}
    assert "tenantry/registry/migrations/versions/0001_first_tables.py" in names
    assert {f"{top}/py.typed" for top in tops} <= set(names)


def test_a_plain_install_has_a_working_command(wheel: Path, tmp_path: Path) -> None:
    """Without the extras it says which one a command needs, in one line."""
    venv.create(tmp_path / "venv", with_pip=True)
    pip = [
        str(tmp_path / "venv/bin/pip"),
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-compile",
    ]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), str(wheel)], check=True)

    def tenantry(*args: str) -> "subprocess.CompletedProcess[str]":
        command = [str(tmp_path / "venv/bin/tenantry"), *args]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert tenantry("--version").stdout == "tenantry, version 0.1.0\n"
    assert "Serve a folder of TenantModels" in tenantry("--help").stdout
    asked = tenantry("get")
    assert asked.returncode == 78
    assert "start one with `tenantry up FOLDER`" in asked.stderr
    for command in ("up", "serve", "publish", "operator"):
        refused = tenantry(command)
        assert refused.returncode == 1, refused
        assert "pip install 'tenantry[all]'" in refused.stderr
        assert refused.stderr.count("\n") == 1

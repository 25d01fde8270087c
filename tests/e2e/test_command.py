"""The command's help and errors, read as a user reads them."""

from pathlib import Path

import click
import joblib
import pytest
import yaml
from sklearn.linear_model import LinearRegression

from tenantry import TenantModel
from tenantry_cli.main import cli
from tests.support.processes.up import tenantry

COMMANDS = (
    *(
        "up",
        "get",
        "predict",
        "forecast",
        "score",
        "publish",
        "validate",
        "prune-artifacts",
        "doctor",
        "serve",
    ),
    *("operator", "registry"),
)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.joblib"
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), path)
    return path


def test_without_arguments_it_helps() -> None:
    done = tenantry()
    assert done.returncode == 2
    assert "Serve a separate machine-learning model for every user." in done.stderr


def test_the_help_lists_every_command() -> None:
    shown = tenantry("--help").stdout
    assert [command for command in COMMANDS if f"  {command} " not in shown] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(command: str) -> None:
    shown = tenantry(command, "--help").stdout
    assert len(shown.split("Options:")[0].split()) > 15, "more than a line about what it does"
    options = [param for param in _command(command).params if isinstance(param, click.Option)]
    assert [option.name for option in options if not (option.hidden or option.help)] == []


def _command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["bogus"], "No such command 'bogus'; see `tenantry --help`"),
        (["up"], "Missing argument 'FOLDER'; see `tenantry up --help`"),
        (["up", "/nowhere"], "Directory '/nowhere' does not exist; see `tenantry up --help`"),
        (["up", ".", "--servers", "0"], "0 is not in the range 1<=x<=64; see"),
        (["up", ".", "--cache-bytes", "0"], "TENANTRY_CACHE_BYTES: Input should be greater than 0"),
        (["up", ".", "--host", "no.such.host.invalid"], "choose another --host"),
        (["predict", "ann", "--timeout", "-3", "-d", "[]"], "-3.0 is not in the range"),
        (["publish", __file__, "--user", "ann", "--to", "/nowhere"], "no loader for suffix '.py'"),
        (["get", "--registry", "mysql://x"], "unsupported database 'mysql'; use sqlite:///PATH or"),
        (["get", "--registry", "sqlite:////nowhere/r.db"], "no registry at /nowhere/r.db; start one"),
        (["predict", "ann", "--url", "ftp://x", "-d", "[]"], "--url must begin with http:// or https://"),
        (
            ["predict", "ann", "--url", "http://127.0.0.1:1", "-d", "[]"],
            "no answer from http://127.0.0.1:1",
        ),
        (["publish", "/nowhere.joblib"], "Path '/nowhere.joblib' does not exist; see"),
        (["serve", "--port", "99999"], "TENANTRY_PORT: Input should be less than or equal to 65535"),
        (["serve", "--cache-bytes", "0"], "TENANTRY_CACHE_BYTES: Input should be greater than 0, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_clear_line(args: list[str], words: str, tmp_path: Path) -> None:
    done = tenantry(*args, cwd=tmp_path)
    assert done.returncode not in (0, 130)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


def test_a_bad_setting_is_named() -> None:
    done = tenantry("serve", env={"TENANTRY_POLL_S": "soon"})
    assert done.returncode == 2
    assert "TENANTRY_POLL_S: Input should be a valid number" in done.stderr


def test_publish_prints_a_manifest_that_can_be_applied(model_file: Path, tmp_path: Path) -> None:
    """Facts on standard output, everything else on standard error."""
    args = ["publish", str(model_file), "--user", "ann", "--to", str(tmp_path / "m")]
    done = tenantry(*args, "--method", "predict", "--prewarm")
    declared = TenantModel.parse(yaml.safe_load(done.stdout))
    assert (declared.name, declared.spec.user_id, declared.spec.prewarm) == ("ann", "ann", True)
    assert Path(declared.spec.model.uri.removeprefix("file://")).read_bytes() == model_file.read_bytes()
    assert f"published {declared.spec.model.uri}" in done.stderr


def test_publish_refuses_a_bad_user_before_it_stores_anything(model_file: Path, tmp_path: Path) -> None:
    done = tenantry("publish", str(model_file), "--user", "a b", "--to", str(tmp_path / "m"))
    assert done.returncode == 1
    assert "spec.userId: must be 1 to 253 characters" in done.stderr
    assert not (tmp_path / "m").exists()


def test_publish_to_s3(model_file: Path, s3_bucket: str) -> None:
    args = ["publish", str(model_file), "--user", "ann", "--to"]
    done = tenantry(*args, f"s3://{s3_bucket}/models")
    assert done.returncode == 0, done.stderr
    assert f"uri: s3://{s3_bucket}/models/ann/" in done.stdout
    nowhere = tenantry(*args, "s3://no-such-bucket-here/models", env={"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith("error: s3://no-such-bucket-here/models/ann/")


def test_predict_reads_standard_input() -> None:
    done = tenantry("predict", "ann", "--url", "http://127.0.0.1:1", stdin="[]")
    assert "no answer from" in done.stderr

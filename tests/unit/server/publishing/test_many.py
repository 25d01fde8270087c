"""Thousands at once: each item stands or falls by itself, and what was published is not published again."""

import json
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression

from tenantry import TenantModel
from tenantry.errors import NotPublished
from tenantry.registry import open_engine
from tenantry_cli.declaring.afterwards import Afterwards
from tenantry_cli.main import cli
from tenantry_server import publish_many
from tenantry_server.publishing import Report
from tenantry_server.toys import SumModel
from tests.support.databases.migrated import migrate

FITTED = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])


def items(count: int) -> list[dict[str, Any]]:
    return [{"user_id": f"user-{number}", "model": SumModel(plus=number)} for number in range(count)]


def artifacts(folder: Path) -> list[Path]:
    return [path for path in (folder / "models").rglob("*") if path.is_file()]


def test_each_item_gets_its_artifact_and_its_manifest(tmp_path: Path) -> None:
    seen: list[int] = []

    def done(report: Report) -> None:
        seen.append(len(report.published))

    report = publish_many(items(50), to=tmp_path / "models", manifests=tmp_path / "m", done=done)
    assert (len(report.published), report.failed, report.skipped) == (50, [], 0)
    assert seen == list(range(1, 51))
    users = {yaml.safe_load(path.read_text())["spec"]["userId"] for path in (tmp_path / "m").iterdir()}
    assert users == {f"user-{number}" for number in range(50)}
    assert len(artifacts(tmp_path)) == 50


def test_one_that_fails_stops_no_other_and_is_named(tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"user_id": "no good", "model": SumModel()},
        {"user_id": "unfitted", "model": LinearRegression()},
        {"user_id": "lambda", "model": lambda: 1},
        {"user_id": "gone", "model": tmp_path / "gone.joblib"},
        {"user_id": "odd", "model": SumModel(), "metod": "predict"},
        {"model": SumModel()},
    ]
    report = publish_many([*bad, *items(2)], to=tmp_path / "models", manifests=tmp_path / "m")
    assert len(report.published) == 2
    assert [failure.number for failure in report.failed] == [0, 1, 2, 3, 4, 5]
    problems = [failure.problem for failure in report.failed]
    for problem, words in zip(
        problems,
        (
            "must be 1 to 253 characters",
            "not fitted",
            "can't be pickled",
            "No such file",
            "metod",
            "missing user_id",
        ),
        strict=True,
    ):
        assert words in problem
    assert len(artifacts(tmp_path)) == 2


def test_what_was_published_is_skipped_until_it_changes(tmp_path: Path) -> None:
    """Also where the process was killed while it noted something."""
    how: dict[str, Any] = {
        "to": tmp_path / "models",
        "manifests": tmp_path / "m",
        "journal": tmp_path / "done",
    }
    first = publish_many(items(3), **how)
    assert (len(first.published), first.skipped) == (3, 0)
    with (tmp_path / "done").open("a") as journal:
        journal.write('["user-3", "cut o')
    again = publish_many(items(4), **how)
    assert ([each.spec.user_id for each in again.published], again.skipped) == (["user-3"], 3)
    changed = [*items(3), {"user_id": "user-3", "model": SumModel(plus=9)}]
    assert [each.spec.user_id for each in publish_many(changed, **how).published] == ["user-3"]
    other = [items(1)[0] | {"spec": {"prewarm": True}}]
    assert publish_many(other, **how).published[0].spec.prewarm
    (tmp_path / "mine").write_text("precious\n")
    with pytest.raises(NotPublished, match="not a journal"):
        publish_many(items(1), **(how | {"journal": tmp_path / "mine"}))


def table(tmp_path: Path, *lines: str) -> Path:
    for name in ("a", "b"):
        pd.to_pickle(FITTED, tmp_path / f"{name}.pkl")  # type: ignore[attr-defined]
    path = tmp_path / "models.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(tmp_path: Path, path: Path) -> Any:
    argv = [
        "publish",
        "--table",
        str(path),
        "--to",
        str(tmp_path / "models"),
        "--manifests",
        str(tmp_path / "m"),
    ]
    return CliRunner().invoke(cli, argv)


def test_a_table_is_published_and_resumed(tmp_path: Path) -> None:
    """Ids keep their zeros; the second run does what the first could not."""
    path = table(tmp_path, "user,file,prewarm", "0042,a.pkl,yes", "ben,missing.pkl,")
    done = run(tmp_path, path)
    assert done.exit_code == 1
    assert "1 published, 0 were before, 1 failed" in done.stderr
    assert "row 1, user ben: " in done.stderr
    (manifest,) = (tmp_path / "m").iterdir()
    spec = yaml.safe_load(manifest.read_text())["spec"]
    assert (spec["userId"], spec["prewarm"]) == ("0042", True)
    (tmp_path / "missing.pkl").write_bytes((tmp_path / "b.pkl").read_bytes())
    done = run(tmp_path, path)
    assert (done.exit_code, "1 published, 1 were before, 0 failed" in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["user,path", "ann,a.pkl"], "column missing file; a table has user, file"),
        (["user,file,colour", "ann,a.pkl,red"], "column unknown colour"),
        (["user,file"], "has no rows"),
        (["user,file", ",a.pkl"], "row 0 has no user"),
        (["user,file", "ann,a.pkl,more"], "row 0 has another number of values"),
        (["user,file,prewarm", "ann,a.pkl,maybe"], "row 0: prewarm must be true or false, got 'maybe'"),
    ],
)
def test_a_table_that_can_not_be_read_is_refused_whole(
    tmp_path: Path, lines: list[str], words: str
) -> None:
    done = run(tmp_path, table(tmp_path, *lines))
    assert done.exit_code == 1
    assert words in done.output
    assert not (tmp_path / "models").exists()


def test_a_parquet_table_is_read_as_a_csv_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pandas reads from it, as pyarrow is not here: text, missing cells, and numbers that were ids."""
    table(tmp_path)
    path = tmp_path / "models.parquet"
    path.write_bytes(b"PAR1")

    def holds(frame: pd.DataFrame | Exception) -> Any:
        def read(_: Path) -> pd.DataFrame:
            if isinstance(frame, Exception):
                raise frame
            return frame

        monkeypatch.setattr(pd, "read_parquet", read)
        return run(tmp_path, path)

    both = {"file": ["a.pkl", "b.pkl"], "prewarm": [True, None], "method": [None, "predict"]}
    done = holds(pd.DataFrame({"user": ["0042", "ben"], **both}))
    assert (done.exit_code, "2 published, 0 were before" in done.stderr) == (0, True), done.stderr
    assert yaml.safe_load((tmp_path / "m/0042.yaml").read_text())["spec"]["prewarm"] is True
    assert "prewarm" not in yaml.safe_load((tmp_path / "m/ben.yaml").read_text())["spec"]
    for frame, words in (
        (
            pd.DataFrame({"user": [42, 7], **both}),
            "column user holds numbers (int64), where an id such as 0042",
        ),
        (pd.DataFrame({"user": ["ann", None], **both}), "row 1 has no user"),
        (pd.DataFrame({"user": [], "file": []}, dtype=str), "has no rows"),
        (RuntimeError("magic bytes not found"), "it is damaged, or not Parquet: magic bytes not found"),
        (
            ImportError("no pyarrow"),
            "needs pip install 'tenantry[arrow]' here (no pyarrow); or write a .csv",
        ),
    ):
        done = holds(frame)
        assert done.exit_code == 1
        assert words in done.stderr.replace("\n", " ")


def test_a_parquet_table_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    """As it is here: pandas finds no engine."""
    table(tmp_path)
    (tmp_path / "models.parquet").write_bytes(b"PAR1")
    done = run(tmp_path, tmp_path / "models.parquet")
    assert done.exit_code == 1
    assert "Parquet needs pip install 'tenantry[arrow]' here" in done.stderr.replace("\n", " ")


def test_what_follows_is_done_for_every_row_that_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for those of a run before, whose --apply may have failed; one that fails stops no other."""
    acted: list[list[str]] = []

    def act(_: Afterwards, declared: list[TenantModel]) -> None:
        acted.append([each.spec.user_id for each in declared])

    monkeypatch.setattr(Afterwards, "act", act)
    monkeypatch.setattr(Afterwards, "follows", property(lambda _: True))
    path = table(tmp_path, "user,file,name", "0042,a.pkl,", "ben,missing.pkl,", "Eve@x,b.pkl,eve")
    done = run(tmp_path, path)
    assert (done.exit_code, "1 of 3 were not published" in done.stderr) == (1, True), done.stderr
    (tmp_path / "missing.pkl").write_bytes((tmp_path / "b.pkl").read_bytes())
    assert run(tmp_path, path).exit_code == 0
    assert acted == [["0042", "Eve@x"], ["0042", "ben", "Eve@x"]]


def test_a_model_folder_of_mlflow_is_published_by_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    joblib.dump(FITTED, folder / "model.pkl")
    flavor = {"sklearn": {"pickled_model": "model.pkl", "code": None}}
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavor}))
    argv = ["publish", str(folder), "--user", "ann", "--to", str(tmp_path / "models")]
    done = CliRunner().invoke(cli, [*argv, "--manifests", str(tmp_path / "m")])
    assert done.exit_code == 0, done.stderr
    spec = yaml.safe_load((tmp_path / "m/ann.yaml").read_text())["spec"]
    assert spec["model"]["uri"].endswith(".mlflow")
    (folder / "MLmodel").write_text(json.dumps({"flavors": {"sklearn": {"pickled_model": "gone.pkl"}}}))
    done = CliRunner().invoke(cli, argv)
    assert "which the folder does not hold" in str(done.exception)


def test_waiting_for_a_table_ends_with_one_report_and_its_status(tmp_path: Path) -> None:
    """No operator has read any of the two, also where a run before published one."""
    registry = f"sqlite:///{tmp_path / 'registry.db'}"
    migrate(open_engine(registry))
    path = table(tmp_path, "user,file", "ann,a.pkl", "ben,b.pkl")
    run(tmp_path, table(tmp_path, "user,file", "ann,a.pkl"))
    table(tmp_path, "user,file", "ann,a.pkl", "ben,b.pkl")
    argv = ["publish", "--table", str(path), "--to", str(tmp_path / "models")]
    argv += ["--manifests", str(tmp_path / "m"), "--wait", "--timeout", "0", "--registry", registry]
    done = CliRunner().invoke(cli, argv)
    assert done.exit_code == 4, done.stderr
    assert "1 published, 1 were before, 0 failed" in done.stderr
    assert "default/ann" in done.stderr
    assert "default/ben" in done.stderr

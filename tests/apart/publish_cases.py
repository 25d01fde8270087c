"""`tenantry publish --table` with a Parquet file that pyarrow wrote and reads."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from click.testing import CliRunner, Result

from tenantry_cli.main import cli
from tenantry_server.toys import SumModel


def run(folder: Path, columns: dict[str, Any], keep: int | None = None) -> Result:
    (folder / "a.pkl").write_bytes(pickle.dumps(SumModel()))
    table = folder / "models.parquet"
    pq.write_table(pa.table(columns), table)
    table.write_bytes(table.read_bytes()[:keep])
    given = ["--table", str(table), "--to", str(folder / "models"), "--manifests", str(folder / "m")]
    return CliRunner().invoke(cli, ["publish", *given])


def test_a_parquet_table_is_published_and_resumed(tmp_path: Path) -> None:
    """Categories are text, and a missing cell is one that says nothing."""
    columns = {
        "user": pa.array(["0042", "ben"]).dictionary_encode(),
        "file": ["a.pkl", "a.pkl"],
        "prewarm": [True, None],
    }
    done = run(tmp_path, columns)
    assert done.exit_code == 0, done.stderr
    assert "2 published, 0 were before, 0 failed" in done.stderr
    specs = [yaml.safe_load((tmp_path / f"m/{name}.yaml").read_text())["spec"] for name in ("0042", "ben")]
    assert [(spec["userId"], spec.get("prewarm")) for spec in specs] == [("0042", True), ("ben", None)]
    assert "0 published, 2 were before, 0 failed" in run(tmp_path, columns).stderr


def test_a_table_that_misleads_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    """Numbers whose leading zeros are lost, and a file cut short at its end, middle and beginning."""
    good = {"user": ["ann"], "file": ["a.pkl"]}
    for columns, keep, words in (
        (
            {"user": [42], "file": ["a.pkl"]},
            None,
            "column user holds numbers (int64), where an id such as 0042",
        ),
        (good, -4, "it is damaged, or not Parquet"),
        (good, 100, "it is damaged, or not Parquet"),
        (good, 0, "it is damaged, or not Parquet"),
    ):
        done = run(tmp_path, columns, keep)
        assert done.exit_code == 1
        assert words in done.stderr.replace("\n", " ")
        assert not (tmp_path / "models").exists()

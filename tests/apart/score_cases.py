"""`tenantry score` on a scripted server: files in and out, interruptions, and input that is refused."""

import json
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from tenantry.scoring import close
from tenantry.scoring.arrow_rows import ArrowRows
from tenantry_cli import main
from tenantry_cli.scoring import job, reading
from tenantry_cli.scoring.notes import Notes
from tenantry_cli.scoring.parts import format_of
from tenantry_cli.scoring.places import File
from tenantry_cli.scoring.storing import Parts
from tests.apart.batch_server import Asked, BatchServer, Failed, Row, running
from tests.support.waiting import until

ROWS = 25
SALES = pd.DataFrame(
    {
        "store_id": [f"00{number % 7}" for number in range(ROWS)],
        "x": [float(number) for number in range(ROWS)],
        "kind": ["a,b" if number % 3 else None for number in range(ROWS)],
    }
)
Score = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts take no time, and parts are small."""
    monkeypatch.setattr("tenantry.processes.backoff.delay_s", lambda *_args, **_options: 0.0)
    monkeypatch.setattr(job, "PART_ROWS", 8)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with running(BatchServer()) as server:
        yield server
    close()


@pytest.fixture
def score(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Score:
    """Runs the command; returns its exit status and what it said."""

    def run(*args: Any, user_column: str = "store_id") -> tuple[int, str]:
        capsys.readouterr()
        asked = ["score", *map(str, args), "--url", server.url, "--user-column", user_column]
        monkeypatch.setattr(
            sys, "argv", ["tenantry", *asked, "--rows-per-request", "4", "--in-flight", "2"]
        )
        with pytest.raises(SystemExit) as ended:
            main.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


def write(path: Path, table: pd.DataFrame = SALES) -> Path:
    """A table, in the format that its name says."""
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)
    return path


def read(path: Path) -> pd.DataFrame:
    """The same, back; users are text."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype={"store_id": str})
    return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])


@pytest.mark.parametrize("source", ["sales.parquet", "sales.csv", "sales.ndjson"])
@pytest.mark.parametrize("out", ["out.parquet", "out.csv", "out.jsonl"])
def test_each_format_to_each(score: Score, tmp_path: Path, source: str, out: str) -> None:
    status, said = score(write(tmp_path / source), "--out", tmp_path / out)
    assert status == 0, said
    scored = read(tmp_path / out)
    assert list(scored.columns) == ["store_id", "x", "kind", "prediction", "error", "reason"]
    assert scored["store_id"].tolist() == SALES["store_id"].tolist()
    assert scored["prediction"].tolist() == [2.0 * number for number in range(ROWS)]
    assert scored["kind"].isna().tolist() == SALES["kind"].isna().tolist()
    assert "25 rows scored, 0 of them without a prediction" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source, out])


@pytest.fixture
def tracing() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def _held() -> int:
    """What Arrow holds, and Python, whose bytes Arrow reads a file as."""
    return int(pa.total_allocated_bytes()) + tracemalloc.get_traced_memory()[0]


def test_memory_is_that_of_a_few_requests_however_long_the_table(tmp_path: Path, tracing: None) -> None:
    """Of a single row group, whose rows come back as a single part: neither is held as a whole."""
    rows = 200_000
    numbers = pa.array(np.random.default_rng(1).normal(size=rows))  # 1.6 MB a column, also when compressed
    columns = {f"x{number}": numbers for number in range(5)} | {"store_id": pa.repeat("001", rows)}
    source, out = tmp_path / "long.parquet", File(str(tmp_path / "out.parquet"))
    pa.parquet.write_table(pa.table(columns), source, row_group_size=rows, use_dictionary=["store_id"])
    table = reading.table(File(str(source)), "store_id", None)
    parts = Parts(out.beside(".parts"), format_of(out), "store_id")
    before, held = _held(), list[int]()

    def scored() -> Iterator[ArrowRows]:
        for some in table.pieces(0, 10_000):
            assert isinstance(some, ArrowRows)
            answers = {
                "prediction": some.table["x0"],
                **dict.fromkeys(("error", "reason"), pa.nulls(len(some))),
            }
            yield some.with_answers(ArrowRows(pa.table(answers)))
            held.append(_held() - before)

    notes = Notes({})
    parts.store(scored(), notes, rows)
    assert notes.rows == [rows]
    assert len(held) == rows // 10_000
    assert max(held) < 4_000_000, "of 8 MB that are read, and 10 MB that are stored"
    with parts.part(0).opened() as file, pa.ipc.open_stream(file) as stream:
        assert stream.read_all()["prediction"].to_pylist() == numbers.to_pylist()


def test_failed_rows_are_reported_by_reason(score: Score, server: BatchServer, tmp_path: Path) -> None:
    """Their predictions are null; the status says that there are some."""

    def model(row: Row) -> float:
        if row["store_id"] == "003":
            raise Failed(404, "ModelNotAssigned", "no model is assigned to user '003'")
        if row["x"] == 20.0:
            raise Failed(422, "FeatureMismatch", "column 'x' must be smaller")
        return float(row["x"])

    server.model = model
    status, said = score(write(tmp_path / "sales.csv"), "--out", tmp_path / "out.parquet")
    assert status == 3
    assert "ModelNotAssigned: 4 rows" in said
    assert "row 3, user 003: no model is assigned to user '003'" in said
    assert "row 20, user 006: column 'x' must be smaller" in said
    assert "25 rows scored, 5 of them without a prediction" in said
    scored = read(tmp_path / "out.parquet")
    assert scored["prediction"].isna().sum() == scored["reason"].notna().sum() == 5
    assert pa.parquet.read_schema(tmp_path / "out.parquet").field("error").type == pa.string()


def test_predictions_of_different_types_in_one_table(
    score: Score, server: BatchServer, tmp_path: Path
) -> None:
    """Whole numbers and others are numbers; with texts among them, each is JSON."""
    server.model = lambda row: row["x"] if row["x"] > 9 else int(row["x"])
    source = write(tmp_path / "sales.parquet")
    assert score(source, "--out", tmp_path / "out.parquet")[0] == 0
    assert read(tmp_path / "out.parquet")["prediction"].tolist() == [float(n) for n in range(ROWS)]
    server.model = lambda row: "many" if row["x"] > 15 else row["x"]
    assert score(source, "--out", tmp_path / "two.parquet")[0] == 0
    assert read(tmp_path / "two.parquet")["prediction"].tolist()[14:17] == ["14.0", "15.0", '"many"']
    server.model = lambda row: "many" if row["x"] > 19 else row["x"]  # also within one part
    assert score(source, "--out", tmp_path / "mixed.parquet")[0] == 0
    assert read(tmp_path / "mixed.parquet")["prediction"].tolist()[18:21] == ["18.0", "19.0", '"many"']
    server.model = lambda row: [row["x"], 1.0]
    for name in ("three.parquet", "three.csv"):
        assert score(source, "--out", tmp_path / name)[0] == 0
    assert read(tmp_path / "three.parquet")["prediction"][2].tolist() == [2.0, 1.0]
    assert read(tmp_path / "three.csv")["prediction"][2] == "[2.0, 1.0]"


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".ndjson"])
def test_an_interrupted_run_goes_on(score: Score, server: BatchServer, tmp_path: Path, suffix: str) -> None:
    """Behind the last part that is whole; the rows before it are not asked again."""
    source, out = write(tmp_path / f"sales{suffix}"), tmp_path / f"out{suffix}"
    server.refuse = lambda asked, _number: (0, {}) if asked.rows[-1]["x"] > 18 else None
    status, said = score(source, "--out", out)
    assert status == 1
    assert "16 rows are scored and kept, and the same command goes on" in said
    assert not out.exists()
    server.refuse, server.asked = lambda _asked, _number: None, []
    status, said = score(source, "--out", out)
    assert status == 0, said
    assert "going on after 16 rows" in said
    assert min(row["x"] for asked in server.asked for row in asked.rows) == 16.0
    assert read(out)["prediction"].tolist() == [2.0 * number for number in range(ROWS)]
    assert not (tmp_path / f"out{suffix}.parts").exists()


_RUN = """
import sys
from tenantry_cli import main
from tenantry_cli.scoring import job, reading
from tenantry_cli.scoring.notes import Notes
from tenantry_cli.scoring.parts import format_of
from tenantry_cli.scoring.places import File
from tenantry_cli.scoring.storing import Parts

job.PART_ROWS = 8
try:
    main.main()
finally:
    print("pandas" in sys.modules)
"""


def test_a_killed_run_goes_on(server: BatchServer, tmp_path: Path) -> None:
    """Kill -9 with a part stored and requests under way: no row is there twice afterwards, or missing.

    Parquet to Parquet, the command imports no pandas: that would take most of the time of a small table.
    """
    source, out = write(tmp_path / "sales.parquet"), tmp_path / "out.parquet"
    command = [sys.executable, "-c", _RUN, "score", str(source), "--out", str(out), "--url", server.url]
    command += ["--user-column", "store_id", "--rows-per-request", "4", "--in-flight", "2"]
    notes = tmp_path / "out.parquet.parts" / "notes.json"

    def kill(asked: Asked, _number: int) -> tuple[int, dict[str, str]] | None:
        if asked.rows[-1]["x"] <= 18:
            return None
        until(lambda: json.loads(notes.read_text())["rows"], "a part")
        child.kill()
        return 0, {}

    server.refuse = kill
    with subprocess.Popen(command) as child:
        assert child.wait(180) == -signal.SIGKILL
    stored = sum(json.loads(notes.read_text())["rows"])
    assert not out.exists()
    server.refuse, server.asked = lambda _asked, _number: None, []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert sorted(row["x"] for asked in server.asked for row in asked.rows) == [*range(stored, ROWS)]
    scored = read(out)
    assert scored["x"].tolist() == SALES["x"].tolist()
    assert scored["prediction"].tolist() == [2.0 * number for number in range(ROWS)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "sales.parquet"]


def test_parts_of_another_table_are_not_mixed_in(score: Score, server: BatchServer, tmp_path: Path) -> None:
    source, out = write(tmp_path / "sales.csv"), tmp_path / "out.csv"
    server.refuse = lambda asked, _number: (0, {}) if asked.rows[-1]["x"] > 18 else None
    assert score(source, "--out", out)[0] == 1
    server.refuse = lambda _asked, _number: None
    write(source, SALES.iloc[::-1])
    status, said = score(source, "--out", out)
    assert status == 1
    assert "out.csv.parts holds parts of an earlier run" in said
    assert "sales.csv has changed since" in said
    status, said = score(source, "--out", out, "--column", "x")
    assert status == 1
    assert score(source, "--out", out, "--overwrite")[0] == 0
    assert read(out)["prediction"].tolist() == [2.0 * number for number in range(ROWS)][::-1]


def test_out_is_never_replaced_unasked(score: Score, server: BatchServer, tmp_path: Path) -> None:
    source, out = write(tmp_path / "sales.csv"), tmp_path / "out.csv"
    out.write_text("precious")
    status, said = score(source, "--out", out)
    assert (status, out.read_text()) == (1, "precious")
    assert "out.csv exists; give another --out, or --overwrite" in said
    server.refuse = lambda _asked, _number: (404, {})
    assert score(source, "--out", out, "--overwrite")[0] == 1
    assert out.read_text() == "precious"
    server.refuse = lambda _asked, _number: None
    assert score(source, "--out", out, "--overwrite")[0] == 0
    assert len(read(out)) == ROWS


def _cut(path: Path, by: int = 20) -> None:
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize(
    ("name", "table", "spoil", "words"),
    [
        ("s.parquet", SALES, _cut, "is not a whole Parquet file, it was cut short"),
        ("s.parquet", SALES, lambda path: path.write_bytes(b""), "is not a whole Parquet file"),
        ("s.parquet", SALES.iloc[:0], None, "has no rows"),
        ("s.parquet", SALES.assign(store_id=range(ROWS)), None, r"holds numbers \(int64\).*lost its zeros"),
        ("s.parquet", SALES.drop(columns="store_id"), None, "no column 'store_id'.*has 'x', 'kind'"),
        ("s.csv", SALES.iloc[:0], None, "has no rows, only a header"),
        ("s.csv", SALES, lambda path: path.write_bytes(b""), "is empty; a table begins with a header"),
        (
            "s.csv",
            SALES,
            lambda path: _cut(path, 9),
            "row 24 has 1 values, the header 3 names; the file was cut",
        ),
        (
            "s.csv",
            SALES,
            lambda path: path.write_bytes(b"store_id,x\n\xff,1\n"),
            "the header can't be read: 'utf-8' codec",
        ),
        ("s.csv", SALES.rename(columns={"store_id": "store"}), None, "did you mean 'store'.*--user-column"),
        ("s.ndjson", SALES.iloc[:0], None, "has no rows"),
        ("s.ndjson", SALES, _cut, "row 24 is not JSON .*cut short"),
        ("s.ndjson", SALES, lambda path: path.write_bytes(b"[1]\n"), "row 0 must be an object"),
        (
            "s.ndjson",
            SALES.assign(store_id=range(ROWS)),
            None,
            "row 0, column .store_id.: a user must be a string, got 0; .*zeros",
        ),
    ],
)
def test_a_table_that_cannot_be_scored(
    score: Score,
    tmp_path: Path,
    name: str,
    table: pd.DataFrame,
    spoil: Callable[[Path], Any] | None,
    words: str,
) -> None:
    """Each has its own message, names the table, and leaves no OUT."""
    source = write(tmp_path / name, table)
    if spoil is not None:
        spoil(source)
    status, said = score(source, "--out", tmp_path / "out.csv")
    assert status == 1
    assert str(source) in said
    assert re.search(words, said), said
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("source", "out", "words"),
    [
        ("nothing.csv", "out.csv", "No such file or directory: "),
        ("sales.xlsx", "out.csv", "the suffix '.xlsx' names no format; known are .parquet, .pq, .csv"),
        ("sales.csv", "out.txt", "the suffix '.txt' names no format"),
        ("gs://bucket/sales.csv", "out.csv", "a table is a file, or s3://BUCKET/KEY"),
        ("s3://bucket", "out.csv", "write s3://BUCKET/KEY"),
        ("sales.csv", "nowhere/out.csv", "this folder does not exist; create it: "),
        ("sales.csv", "sales.csv/out.csv", "this folder does not exist; create it: "),
        ("sales.csv", "sales.csv", "is the table to read"),
    ],
)
def test_names_that_lead_nowhere(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, out: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sales.csv")
    status, said = score(source, "--out", out)
    assert status == 1
    assert words in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sales.csv"]


def test_a_column_of_csv_has_one_type_whatever_comes_late(
    score: Score, server: BatchServer, tmp_path: Path
) -> None:
    """A number in the last row that is not one makes texts of all; zeros in front make texts, too."""
    server.model = lambda _row: 1.0
    source = tmp_path / "sales.csv"
    lines = ["store_id,a,b,c,d,e,f", *["0042,1,1.5,true,007,NA,1"] * 9, "0042,2,,false,008,2,x"]
    source.write_text("\n".join(lines))
    assert score(source, "--out", tmp_path / "out.ndjson")[0] == 0
    first, last = server.asked[0].rows[0], server.asked[-1].rows[-1]
    rows = [row for asked in server.asked for row in asked.rows]
    assert first == {"store_id": "0042", "a": 1, "b": 1.5, "c": True, "d": "007", "e": None, "f": "1"}
    assert {json.dumps(row) for row in rows} == {json.dumps(first), json.dumps(last)} | {
        json.dumps({"store_id": "0042", "a": 2, "b": None, "c": False, "d": "008", "e": 2, "f": "x"})
    }
    server.asked.clear()
    assert score(source, "--out", tmp_path / "two.ndjson", "--text-column", "a")[0] == 0
    assert server.asked[0].rows[0]["a"] == "1"
    status, said = score(source, "--out", tmp_path / "three.ndjson", "--text-column", "z")
    assert status == 1
    assert "no column 'z'" in said


def test_types_of_parquet_are_sent_as_they_are(score: Score, server: BatchServer, tmp_path: Path) -> None:
    """A whole number beside a missing one stays whole."""
    server.model = lambda row: row["n"] or 0
    source = tmp_path / "sales.parquet"
    table = pa.table({"store_id": ["a", "b"], "n": pa.array([2**53 + 1, None], pa.int64())})
    pa.parquet.write_table(table, source)
    assert score(source, "--out", tmp_path / "out.parquet")[0] == 0
    assert server.asked[0].rows[0]["n"] == 2**53 + 1
    scored = pa.parquet.read_table(tmp_path / "out.parquet")
    assert scored.column("n").to_pylist() == [2**53 + 1, None]
    assert scored.column("prediction").to_pylist() == [2**53 + 1, 0]


def test_arrow_goes_through_as_it_is(
    score: Score, server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No DataFrame is made of it, but where rows are asked again: then of these requests alone."""
    made: list[int] = []
    frame = ArrowRows.frame

    def counted(rows: ArrowRows) -> pd.DataFrame:
        made.append(len(rows))
        return frame(rows)

    monkeypatch.setattr(ArrowRows, "frame", counted)
    source = tmp_path / "sales.parquet"
    table = pa.table(
        {**SALES.to_dict("list"), "kind": pa.array(["a", "b", "a", None, "b"] * 5).dictionary_encode()}
    )
    pa.parquet.write_table(table, source, row_group_size=10)
    assert score(source, "--out", tmp_path / "out.parquet")[0] == 0
    assert made == []
    assert {row["kind"] for asked in server.asked for row in asked.rows} == {"a", "b", None}
    loading = {9.0}

    def model(row: Row) -> float:
        if row["x"] in loading:
            loading.discard(row["x"])
            raise Failed(503, "ModelLoading", "it loads")
        if row["x"] == 2.0:
            raise Failed(503, "ModelQuarantined", "it ended its process")
        return float(row["x"]) * 2

    server.model = model
    status, said = score(source, "--out", tmp_path / "two.parquet")
    assert (status, "row 2, user 002: it ended its process" in said) == (3, True)
    one, two = (pa.parquet.read_table(tmp_path / name) for name in ("out.parquet", "two.parquet"))
    assert [*two.column("prediction").to_pylist()] == [None if n == 2 else 2.0 * n for n in range(ROWS)]
    assert two.schema.types == one.schema.types
    assert (
        two.column("kind").to_pylist() == one.column("kind").to_pylist() == table.column("kind").to_pylist()
    )
    assert len(made) < 2 * 7


def test_options_that_exclude_each_other(score: Score, tmp_path: Path) -> None:
    source = write(tmp_path / "sales.csv")
    status, said = score(source, "--out", tmp_path / "out.csv", "--local")
    assert (status, "either --url or --local" in said) == (2, True)
    status, said = score(source, "--out", tmp_path / "out.csv", "--manifests", tmp_path)
    assert (status, "--manifests is for --local" in said) == (2, True)

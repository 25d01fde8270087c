"""`make demo ONCE=1`, as a new user runs it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo_runs_to_its_end(tmp_path: Path) -> None:
    """It compares each answer with the aircraft's own model and fails on a wrong one: for 300 of 2,086."""
    done = _demo(tmp_path, "--tenants", "300")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 of 300 answers equal the tenant's own model" in done.stdout
    for words in ("nothing restarted", "manifest deleted, 404 after", "models in memory"):
        assert words in done.stdout


def test_the_demo_deletes_no_folder_of_yours(tmp_path: Path) -> None:
    precious = tmp_path / "demo-data" / "precious"
    precious.parent.mkdir()
    precious.write_text("mine")
    done = _demo(tmp_path)
    assert done.returncode == 1
    assert "holds files of yours" in done.stderr
    assert precious.read_text() == "mine"


def test_make_runs_that_very_demo() -> None:
    dry = subprocess.run(
        ["/usr/bin/env", "make", "--dry-run", "demo", "ONCE=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-m examples.nycflights.demo --once" in dry.stdout


def _demo(tmp_path: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "examples.nycflights.demo", "--once"]
    return subprocess.run(
        [*command, *more, "--folder", str(tmp_path / "demo-data")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, "COLUMNS": "120"},
    )

"""The Python of docs/scoring.md that is for Dask and Spark, each in an environment of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.environments import with_dask, with_our_sources, with_spark


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("library", ["dask", "pyspark"])
def test_the_python_of_the_document_runs(library: str, tmp_path: Path) -> None:
    """A table of 50 rows, one of its seven users without a model."""
    if library == "pyspark" and shutil.which("java") is None:
        pytest.skip("Spark needs Java: apt-get install default-jre-headless")
    python = {"dask": with_dask, "pyspark": with_spark}[library]()
    done = subprocess.run(
        [str(python), "-m", "tests.apart.score_document", library],
        cwd=tmp_path,
        env=with_our_sources() | {"PYSPARK_PYTHON": str(python), "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    assert f"50 rows scored with {library}, 7 of them without a prediction" in done.stdout

"""What a TensorFlow model weighs, against how a process grows; run by test_tensorflow.py."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.apart import tensorflow_models as models


def grown(data: bytes, folder: Path, count: int = 8) -> dict[str, int]:
    """In a process of its own, which has no other models."""
    path = folder / "model.zip"  # either kind: its content decides
    path.write_bytes(data)
    argv = [sys.executable, "-m", "tests.apart.tensorflow_growth", str(path), str(count)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    read: dict[str, int] = json.loads(done.stdout)
    return read


@pytest.mark.parametrize(
    ("written", "units"),
    [(models.keras_bytes, 8), (models.saved_bytes, 500)],
    ids=["keras", "savedmodel, a million weights"],
)
def test_a_model_says_within_a_factor_of_two_what_it_takes(
    written: Callable[[Any], bytes], units: int, tmp_path: Path
) -> None:
    """The cache is bounded by it. And it leaves when it is dropped, or the bound would mean nothing."""
    seen = grown(written(models.regression(units, layers=5)), tmp_path)
    assert seen["kept"] / 2 < seen["said"] < seen["kept"] * 2, seen
    assert seen["left"] < seen["kept"] / 5, seen
    assert seen["threads"] == 1, "one core is used"

"""What a TensorFlow model weighs, against how a process grows; run by test_tensorflow.py."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.apart import tensorflow_models as models

_WRITTEN: dict[str, Callable[[], bytes]] = {
    "keras": lambda: models.keras_bytes(models.regression(8, layers=5)),
    "savedmodel, a million weights": lambda: models.saved_bytes(models.regression(500, layers=5)),
}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """How a process grew that had no other models; one for both kinds, as it imports TensorFlow for 7 s."""
    paths = []
    for number, write in enumerate(_WRITTEN.values()):
        path = tmp_path_factory.mktemp("sizes") / f"{number}.zip"  # either kind: its content decides
        path.write_bytes(write())
        paths.append(str(path))
    argv = [sys.executable, "-m", "tests.apart.tensorflow_growth", *paths]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(_WRITTEN, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("kind", list(_WRITTEN))
def test_a_model_says_within_a_factor_of_two_what_it_takes(
    grown: dict[str, dict[str, int]], kind: str
) -> None:
    """The cache is bounded by it. And it leaves when it is dropped, or the bound would mean nothing."""
    seen = grown[kind]
    assert seen["kept"] / 2 < seen["said"] < seen["kept"] * 2, seen
    assert seen["left"] < seen["kept"] / 5, seen
    assert seen["threads"] == 1, "one core is used"

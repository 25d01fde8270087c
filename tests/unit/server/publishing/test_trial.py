"""What no server would load is refused before anything is stored, in words for the one who publishes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tenantry.errors import ArtifactInvalid
from tenantry_server import publish

X, Y = [[0.0], [1.0]], [1.0, 3.0]
IN_A_SCRIPT = """
import sys
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tenantry import Model
from tenantry_server import publish

def doubled(x):
    return np.asarray(x) * 2

class Mine(Model):
    def predict(self, data):
        return data.sum(axis=1).to_numpy()

piped = make_pipeline(FunctionTransformer(doubled), Ridge()).fit([[0.0], [1.0]], [1.0, 3.0])
for model in (piped, Mine()):
    try:
        publish(model, user_id="ann", to=sys.argv[1])
    except Exception as error:
        print(type(error).__name__, error)
publish(Mine(), user_id="ann", to=sys.argv[1], check=False)
print(type(sys.modules["__main__"].Mine()).__name__)
"""


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (Ridge(), "not fitted yet"),
        (make_pipeline(StandardScaler(), Ridge()), "not fitted yet"),
        ({"coef": [1.0]}, "it holds a dict, which has no predict method"),
        ([1.0], "it holds a list, which has no predict method"),
        (StandardScaler().fit(X), "which has no predict method"),
        (Ridge, "the class Ridge for user 'ann' is not a usable model"),
        (
            make_pipeline(FunctionTransformer(lambda x: x), Ridge()),
            "can't be pickled.*<lambda>.*into a module",
        ),
    ],
    ids=["unfitted", "unfitted pipeline", "dict", "list", "no predict", "class", "lambda"],
)
def test_what_a_server_would_refuse_is_refused(model: Any, problem: str, tmp_path: Path) -> None:
    """It was once published, and failed on the server."""
    with pytest.raises(ArtifactInvalid, match=problem) as raised:
        publish(model, user_id="ann", to=tmp_path / "models", manifests=tmp_path / "manifests")
    assert "for user 'ann' is not a usable model: " in str(raised.value)
    assert "nothing was published" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    fitted = LinearRegression().fit(X, Y)
    with pytest.raises(ArtifactInvalid, match="has no method predict_proba"):
        publish(fitted, user_id="ann", to=tmp_path, method="predict_proba")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_tried_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "trained.joblib"
    joblib.dump({"coef": [1.0]}, path, compress=3)
    with pytest.raises(ArtifactInvalid, match="it holds a dict") as raised:
        publish(path, user_id="ann", to=tmp_path / "models")
    assert str(raised.value).startswith(f"{path} is not a usable model: ")
    assert not (tmp_path / "models").exists()


def test_without_the_check_it_is_stored_untried(tmp_path: Path) -> None:
    declared = publish(Ridge(), user_id="ann", to=tmp_path, check=False)
    assert declared.spec.model.uri.endswith(".joblib")


def test_what_a_script_defines_is_refused_in_words(tmp_path: Path) -> None:
    """The script itself could load it, a server can't."""
    script = tmp_path / "train.py"
    script.write_text(IN_A_SCRIPT)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "models"], capture_output=True, text=True, check=True
    )
    piped, mine, own = done.stdout.splitlines()
    for line, name in ((piped, "doubled"), (mine, "Mine")):
        assert line.startswith("ArtifactInvalid the ")
        assert f"it needs '{name}' of the Python module '__main__', the script or notebook" in line
        assert "move it into a module that is installed where the servers run" in line
    assert own == "Mine"
    assert len(list((tmp_path / "models").rglob("*.joblib"))) == 1

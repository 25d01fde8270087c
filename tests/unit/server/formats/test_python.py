"""A class of one's own by its import path: found, held against the interface, and made."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import load_model

PACKAGE = """
import numpy as np
from tenantry import Model

class Margin(Model):
    feature_names = ("price",)
    numeric = True

    def __init__(self, margin: float, *, labels: list[str] = ()) -> None:
        if margin < 0:
            raise ValueError("a margin is not negative")
        self.margin = margin
        self.labels = labels

    def predict(self, data):
        return data["price"].to_numpy() * (1 + self.margin)

    class Inner(Model):
        def predict(self, data):
            return np.zeros(len(data))

class Unfinished(Model):
    pass

class Stranger:
    pass

def function():
    pass
"""


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with two modules, one of which can't be imported."""
    (tmp_path / "acme_pricing").mkdir()
    (tmp_path / "acme_pricing" / "__init__.py").touch()
    (tmp_path / "acme_pricing" / "models.py").write_text(PACKAGE)
    (tmp_path / "acme_pricing" / "broken.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("acme_pricing")]:
        monkeypatch.delitem(sys.modules, name)


def loaded(text: str, method: str | None = None) -> Model:
    return load_model(text.encode(), ModelId("file:///m.toml", method=method))


def test_the_class_is_made_with_its_parameters() -> None:
    model = loaded(
        'class = "acme_pricing.models:Margin"\n[parameters]\nmargin = 0.25\nlabels = ["ä", "b"]\n'
    )
    assert vars(model) == {"margin": 0.25, "labels": ["ä", "b"]}
    assert model.predict(pd.DataFrame({"price": [4.0]})).tolist() == [5.0]
    assert model.predict_rows(np.array([[8.0]])).tolist() == [10.0]


def test_a_class_within_a_class_without_parameters() -> None:
    assert type(loaded('class = "acme_pricing.models:Margin.Inner"')).__name__ == "Inner"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class = ", "it is not TOML: "),
        ("\x00", "it is not TOML: "),
        ("[parameters]", 'class must be "package.module:Name", got None'),
        ('class = "acme_pricing.models.Margin"', "got 'acme_pricing.models.Margin'"),
        ('class = "acme_pricing.models:"', "got 'acme_pricing.models:'"),
        ("class = 3", "got 3"),
        ('class = "a:B"\nmargin = 1', "it has margin; only class and [parameters] are allowed"),
        ('class = "a:B"\nparameters = 1', "parameters must be a table, got 1"),
        (
            'class = "acme_missing.models:Margin"',
            "(ModuleNotFoundError: No module named 'acme_missing'); install its package where",
        ),
        ('class = "acme_pricing.broken:Margin"', "can't be imported (RuntimeError: no licence)"),
        ('class = ".models:Margin"', ".models can't be imported"),
        ('class = "acme_pricing.models:Missing"', "acme_pricing.models has no Missing"),
        ('class = "acme_pricing.models:Margin.Missing"', "acme_pricing.models has no Margin.Missing"),
        ('class = "acme_pricing.models:Stranger"', "Stranger is not a subclass of tenantry.Model"),
        ('class = "acme_pricing.models:function"', "function is not a subclass of tenantry.Model"),
        ('class = "acme_pricing.models:Unfinished"', "Unfinished is abstract"),
        ('class = "acme_pricing.models:Margin"', "refused its parameters (none): TypeError: "),
        ('class = "acme_pricing.models:Margin"\n[parameters]\nmargn = 1', "(margn): TypeError: "),
        (
            'class = "acme_pricing.models:Margin"\n[parameters]\nmargin = -1',
            "refused its parameters (margin): ValueError: a margin is not negative",
        ),
    ],
    ids=range(19),
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(ArtifactInvalid) as raised:
        loaded(text)
    assert words in str(raised.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ArtifactInvalid, match="it is not TOML"):
        load_model(b"\xff\xfe", ModelId("file:///m.toml"))


def test_it_has_no_other_method() -> None:
    with pytest.raises(ArtifactInvalid, match=r"no method predict_proba; correct spec\.model\.method"):
        loaded('class = "acme_pricing.models:Margin.Inner"', "predict_proba")

"""The copy of an estimator that proves its kernel: without names, and the tenant's own stays as it is."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tenantry_server.compiling import compiler
from tenantry_server.formats.sklearn.reader import SklearnModel

ROWS = pd.DataFrame(np.random.default_rng(1).normal(size=(20, 3)), columns=["a", "b", "c"])


class Counting(Ridge):  # type: ignore[misc]  # scikit-learn has no types
    """Says itself how it is copied."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "copied_": True}


def test_an_estimator_keeps_its_names_when_it_is_compiled() -> None:
    """A later request for the original, or its card, reads them."""
    fitted = make_pipeline(StandardScaler(), Ridge()).fit(ROWS, ROWS["a"])
    before = {name: dict(vars(step)) for name, step in fitted.steps}
    assert compiler.fast(SklearnModel(fitted)) is not fitted
    for name, step in fitted.steps:
        assert vars(step).keys() == before[name].keys()
        assert all(vars(step)[key] is value for key, value in before[name].items())


def test_a_copy_answers_to_the_last_bit_without_names() -> None:
    model = Ridge().fit(ROWS, ROWS["a"])
    copied = compiler._without_names(model)
    assert type(copied) is Ridge
    assert vars(copied).keys() == vars(model).keys() - {"feature_names_in_"}
    assert copied.predict(ROWS.to_numpy()).tobytes() == model.predict(ROWS).tobytes()


def test_a_class_that_says_how_it_is_copied_is_asked() -> None:
    model = Counting().fit(ROWS, ROWS["a"])
    assert compiler._without_names(model).copied_
    assert not hasattr(model, "copied_")


def test_models_of_as_many_columns_share_their_steps() -> None:
    """The line of a crowd of small models is made once; wide ones are not kept."""
    assert compiler._no_steps(3) is compiler._no_steps(3)
    assert compiler._no_steps(4).inputs == 4
    assert compiler._no_steps(10_000) is not compiler._no_steps(10_000)

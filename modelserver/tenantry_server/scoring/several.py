"""One model under several methods, whose answers to a row go together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tenantry import Model
from tenantry.model import Predictions, Rows
from tenantry_server.scoring import results

if TYPE_CHECKING:
    import pandas as pd


class Several(Model):
    """Answers with an object for each row: the name of each method, and what it gave.

    Args:
        models: by method, in the order of the answers: the same model, called in different ways.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.models = dict(models)
        first = next(iter(self.models.values()))
        self.feature_names = first.feature_names
        self.feature_count = first.feature_count
        self.column_types = first.column_types
        self.numeric = first.numeric
        self.accepts_missing = first.accepts_missing
        self.independent_rows = all(model.independent_rows for model in self.models.values())
        self.may_block = any(model.may_block for model in self.models.values())

    def predict(self, data: "pd.DataFrame") -> Predictions:
        """Ask each method for a DataFrame; each gets one of its own, as a model may work in place."""
        return results.together(
            {name: results.of(model.predict(data.copy()), len(data), name) for name, model in self._each()}
        )

    def predict_rows(self, rows: Rows) -> Predictions:
        """Ask each method for a matrix."""
        return results.together(
            {
                name: results.of(model.predict_rows(rows.copy()), len(rows), name)
                for name, model in self._each()
            }
        )

    def own_bytes(self) -> int | None:
        """Return the sum of what each says; None: one doesn't know, and all are measured."""
        known = [model.own_bytes() for _, model in self._each()]
        return sum(each for each in known if each is not None) if None not in known else None

    def _each(self) -> list[tuple[str, Model]]:
        return list(self.models.items())

"""The model: the one class that a user may subclass."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # the command is quick to start because it never loads them
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

Rows: TypeAlias = "npt.NDArray[np.float64]"
"""Feature values, float64, shape (n, features); n may be 0."""

Predictions: TypeAlias = "npt.NDArray[Any]"
"""One prediction for each row: shape (n,) or (n, outputs), in the order of the rows."""


class Model(ABC):
    """A model; subclass it to serve anything that Python can compute.

    A subclass states what it takes through the three attributes below, and the server checks every
    request against them before `predict` is called, so that a caller learns the column and the row.

    Attributes:
        feature_names: the columns in the model's own order; None where it takes any.
        feature_count: how many columns it takes; None where it takes any.
        numeric: True where every column must be a number; then `predict` gets float64 columns.
        accepts_missing: True where a number may be missing (JSON null, float NaN).
        independent_rows: True where the prediction for a row depends on that row alone; then requests
            that wait for the same model may be scored in one call.
        may_block: False where predicting only computes, without input, output, locks or sleep; then a
            model that was measured to be quick answers on the event loop, without a thread.
        column_types: of a model that is not `numeric`; the server sets them from the model's card, or from
            the estimator, and then a DataFrame has these types whatever a request holds.
        ignores_extra: True where columns of a request that it does not take are left out, and not refused;
            the server sets it, where `feature_names` says what it takes.
        elsewhere: True where another process runs it; the server sets it.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> class Mean(Model):
        ...     feature_names = ("a", "b")
        ...     numeric = True
        ...
        ...     def predict(self, data: pd.DataFrame) -> np.ndarray:
        ...         return data.mean(axis=1).to_numpy()
        >>> Mean().predict(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 6.0]}))
        array([2., 4.])
    """

    __slots__ = ()  # a subclass may have slots: of a hundred thousand small models, each dict counts

    feature_names: Sequence[str] | None = None
    feature_count: int | None = None
    numeric: bool = False
    accepts_missing: bool = True
    independent_rows: bool = False
    may_block: bool = True
    column_types: Sequence[Any] | None = None
    ignores_extra: bool = False
    elsewhere: bool = False

    @abstractmethod
    def predict(self, data: "pd.DataFrame") -> Predictions:
        """Score every row of `data`.

        Args:
            data: n rows, with the columns `feature_names` where those are stated.

        Returns:
            shape (n,) or (n, outputs), in the order of the rows.
        """

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a plain matrix whose columns are in the model's own order.

        The server calls this for models that are `numeric`. Override it where the model can do
        without a DataFrame, which costs more than most small models.

        Args:
            rows: float64, shape (n, features).

        Returns:
            shape (n,) or (n, outputs), in the order of the rows.
        """
        import pandas as pd  # noqa: PLC0415 - see above

        columns = None if self.feature_names is None else list(self.feature_names)
        return self.predict(pd.DataFrame(rows, columns=columns))

    def own_bytes(self) -> int | None:
        """Return the bytes in memory that this model alone takes; None: the server measures it.

        Override it where Python can't see the memory, such as that of a C library.
        """
        return None

"""The forecaster: a model of one series over time, which is asked for a horizon instead of rows."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tenantry.errors import OnlyForecasts
from tenantry.model import Model, Predictions

if TYPE_CHECKING:  # as in `tenantry.model`
    import pandas as pd

MEAN = "mean"
"""The column of a forecast that holds its expected value."""

VALUE = "value"
"""The column of a history that holds the series itself."""


class Forecaster(Model):
    """A model of one series; subclass it to serve any forecast that Python can compute.

    The attributes state what it takes. The server checks every request against them before `forecast` is
    called, so that a caller learns the row, what was seen and what was wanted.

    Attributes:
        frequency: of the steps, as pandas writes it, such as ``D`` or ``MS``; None: steps are numbered.
        last_time: of the series that it was fitted with: a Timestamp, in the series' time zone where it has
            one; the number of the last step where `frequency` is None.
        exog_names: columns whose values over the horizon a request must bring.
        takes_history: whether a request may bring a later history than the model was fitted with.
        takes_quantiles: whether it can answer quantiles.

    Example:
        >>> import pandas as pd
        >>> class Flat(Forecaster):
        ...     frequency = "D"
        ...     last_time = pd.Timestamp("2026-11-30")
        ...
        ...     def forecast(self, horizon, *, history=None, exog=None, quantiles=()):
        ...         times = pd.date_range(self.last_time, periods=horizon + 1, freq=self.frequency)[1:]
        ...         return pd.DataFrame({"mean": 7.0}, index=times)
        >>> Flat().forecast(2)
                    mean
        2026-12-01   7.0
        2026-12-02   7.0
    """

    __slots__ = ()

    frequency: str | None = None
    last_time: Any = None
    exog_names: Sequence[str] = ()
    takes_history: bool = False
    takes_quantiles: bool = False

    @abstractmethod
    def forecast(
        self,
        horizon: int,
        *,
        history: "pd.DataFrame | None" = None,
        exog: "pd.DataFrame | None" = None,
        quantiles: Sequence[float] = (),
    ) -> "pd.DataFrame":
        """Forecast the steps that follow the history, or the series that the model was fitted with.

        Args:
            horizon: steps, at least 1.
            history: the series up to the first step, one row a step without gaps: column ``value``, and
                `exog_names`; its index holds times, or numbers of steps. Only where `takes_history` is set.
            exog: `horizon` rows of `exog_names` with the same kind of index; None where there are none.
            quantiles: each between 0 and 1, ascending. Only where `takes_quantiles` is set.

        Returns:
            `horizon` rows in the order of time: column ``mean``, and one for each quantile, named by its
            number. The index is not read.

        Raises:
            ValueError: it can't forecast this; its message reaches the client.
        """

    def predict(self, data: "pd.DataFrame") -> Predictions:  # noqa: ARG002 - the interface
        """Refuse: a forecaster is asked for a horizon.

        Raises:
            OnlyForecasts: always.
        """
        raise OnlyForecasts

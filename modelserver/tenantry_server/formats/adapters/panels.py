"""Tables of many series, as Nixtla's libraries keep them, for the one series that a user has."""

from collections.abc import Sequence
from typing import Any

import pandas as pd


def only_series(uids: Any) -> Any:
    """Return the name of the only series.

    Raises:
        ValueError: there are several.
    """
    names = list(uids)
    if len(names) != 1:
        shown = ", ".join(map(str, names[:3]))
        raise ValueError(
            f"it holds {len(names)} series ({shown}, …); a user has one, so fit and publish each"
        )
    return names[0]


def only_model(names: Sequence[str]) -> str:
    """Return the name of the only model.

    Raises:
        ValueError: there are several.
    """
    if len(names) != 1:
        raise ValueError(f"it holds {len(names)} models ({', '.join(names[:3])}, …); keep the one to serve")
    return names[0]


def of(frame: pd.DataFrame, series: Any, names: Any) -> pd.DataFrame:
    """Return rows by time as such a table; `names` has ``id_col`` and ``time_col``."""
    columns = {names.id_col: series, names.time_col: frame.index}
    return pd.concat([pd.DataFrame(columns), frame.reset_index(drop=True)], axis=1)

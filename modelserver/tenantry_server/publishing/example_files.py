"""Examples of training data from files."""

from pathlib import Path

import pandas as pd

from tenantry.errors import NotPublished

_MOST_ROWS = 1000  # of text formats; the types of more are the same


def read_example(path: Path) -> pd.DataFrame:
    """Read rows of a table: Parquet keeps their types, CSV and JSON leave them to pandas.

    Raises:
        NotPublished: it is of another kind, can't be read, or has no rows.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            frame = pd.read_parquet(path)
        elif kind == ".csv":
            frame = pd.read_csv(path, nrows=_MOST_ROWS)
        elif kind in (".json", ".jsonl", ".ndjson"):
            lines = kind != ".json"
            frame = pd.read_json(path, lines=lines, convert_dates=False, dtype=None)
        else:
            raise NotPublished(str(path), "an example is a file .parquet, .csv, .json (records) or .jsonl")
    except ImportError as error:
        raise NotPublished(str(path), f"Parquet needs a library that is not here ({error})") from None
    except (ValueError, OSError) as error:
        raise NotPublished(str(path), f"it can't be read as {kind}: {error}") from None
    return frame

"""Examples of training data from files."""

from itertools import islice
from pathlib import Path

import orjson
import pandas as pd

from tenantry.errors import NotPublished

_MOST_ROWS = 1000  # of text formats; the types of more are the same


def read_example(path: Path) -> pd.DataFrame:
    """Read rows of a table: Parquet keeps their types, CSV leaves them to pandas, JSON has a request's own.

    Raises:
        NotPublished: it is of another kind, can't be read, or has no rows.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            frame = pd.read_parquet(path)
        elif kind == ".csv":
            frame = pd.read_csv(path, nrows=_MOST_ROWS)
        elif kind == ".json":
            frame = pd.DataFrame(orjson.loads(path.read_bytes()))
        elif kind in (".jsonl", ".ndjson"):
            with path.open("rb") as lines:
                frame = pd.DataFrame([orjson.loads(line) for line in islice(lines, _MOST_ROWS)])
        else:
            raise NotPublished(str(path), "an example is a file .parquet, .csv, .json (records) or .jsonl")
    except ImportError as error:
        raise NotPublished(str(path), f"Parquet needs a library that is not here ({error})") from None
    except (ValueError, OSError) as error:
        raise NotPublished(str(path), f"it can't be read as {kind}: {error}") from None
    return frame

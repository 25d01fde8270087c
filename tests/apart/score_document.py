"""Runs the Python of docs/scoring.md that is for one library, in an environment that has it.

    python -m tests.apart.score_document dask

A scripted server stands in for the fleet; what the program wrote is compared with what the server answers.
"""

import os
import re
import sys
from pathlib import Path

import pandas as pd

from tests.apart.batch_server import BatchServer, Failed, Row, running

PAGE = Path(__file__).parents[2] / "docs" / "scoring.md"
ROWS = 50
ADDRESS = "http://127.0.0.1:8080"


def model(row: Row) -> float:
    """Twice the distance; one store has no model."""
    if row["store_id"] == "0003":
        raise Failed(404, "ModelNotAssigned", "no model is assigned to user '0003'")
    return float(row["km"]) * 2


def main() -> None:
    """Run it in this folder, which is to be empty."""
    library = sys.argv[1]
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (block,) = [each for each in blocks if re.search(rf"^(from|import) {library}\b", each, re.MULTILINE)]
    assert ADDRESS in block
    stores = [f"{number % 7:04}" for number in range(ROWS)]
    table = pd.DataFrame({"store_id": stores, "km": [float(number) for number in range(ROWS)]})
    table.to_parquet("sales.parquet", index=False)
    with running(BatchServer(model=model)) as server:
        program = compile(block.replace(ADDRESS, server.url), str(PAGE), "exec")
        exec(program, {"__name__": "__main__"})  # noqa: S102 - our own document
    scored = pd.read_parquet("scored").sort_values("km")
    assert scored["store_id"].tolist() == stores
    wanted = [None if store == "0003" else 2.0 * number for number, store in enumerate(stores)]
    assert [None if pd.isna(value) else value for value in scored["prediction"]] == wanted
    failed = scored[scored["reason"].notna()]
    assert set(failed["reason"]) == {"ModelNotAssigned"}
    assert set(failed["store_id"]) == {"0003"}
    assert len(scored) == ROWS
    print(f"{ROWS} rows scored with {library}, {len(failed)} of them without a prediction", flush=True)
    os._exit(0)  # some libraries leave threads


if __name__ == "__main__":
    main()

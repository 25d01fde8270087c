"""Score a table of rows of many users with Ray Data, on as many machines as Ray has.

    pip install tenantry 'ray[data]' pyarrow
    python -m examples.ray.score sales.parquet scored --url http://127.0.0.1:8080 --user-column store_id

Each of Ray's processes opens its own connections. Blocks are scored where they lie, and written from there.
"""

import argparse

import ray

from tenantry.scoring import score_batch

_ROWS = 10_000  # of a block; one request of a server


def main() -> None:
    """Read Parquet files, score them, write Parquet files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", help="Parquet, a file or a folder")
    parser.add_argument("out", help="a folder for the scored table")
    parser.add_argument("--url", action="append", required=True, help="of a server; may be repeated")
    parser.add_argument("--user-column", default="user_id")
    given = parser.parse_args()
    whom = {"url": given.url, "user_column": given.user_column}
    scored = ray.data.read_parquet(given.table).map_batches(
        score_batch, batch_format="pandas", batch_size=_ROWS, fn_kwargs=whom
    )
    scored.write_parquet(given.out)
    rows = ray.data.read_parquet(given.out).to_pandas()
    print(f"{len(rows):,} rows scored, {rows['reason'].notna().sum():,} of them without a prediction")


if __name__ == "__main__":
    main()

"""`python -m benchmarks.batch`: many users in one request, beside one request for each."""

import argparse
import importlib
import sys
import time

_SECTIONS = ("requests", "forecasts", "scoring")


def main() -> None:
    """Run each section, which prints what it measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch",
        description="Rows of many users in one request. From the root of the repository, on two cores that "
        "do nothing else. docs/benchmarks.md has the method and the targets.",
    )
    parser.add_argument("--only", choices=_SECTIONS, action="append", help="a section; all by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of the tenants, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="in which forms take turns; default 3")
    given = parser.parse_args()
    for name in given.only or _SECTIONS:
        began_s = time.perf_counter()
        importlib.import_module(f"benchmarks.batch.{name}").main(given)
        print(f"{name}: {time.perf_counter() - began_s:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""`python -m benchmarks.serving`: the model server beside the servers that people would use instead."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

from benchmarks.serving import (
    cold,
    cores,
    crowd,
    flight,
    grpc_calls,
    profile,
    races,
    report,
    trace_cost,
    traces,
    wrk,
    zipf,
)
from benchmarks.serving.contenders import CONTENDERS
from benchmarks.serving.options import Options
from benchmarks.serving.report import Row

_SECTIONS: dict[str, Callable[[Options], list[Row]]] = {
    "ridge": races.ridge,
    "texts": races.texts,
    "v2": races.v2,
    "forest": races.forest,
    "grpc": grpc_calls.grpc_calls,
    "cold": cold.cold,
    "flight": flight.flight,
    "crowd": crowd.crowd,
    "zipf": zipf.zipf,
    "traces": traces.traces,
    "trace-cost": trace_cost.trace_cost,
}


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description="The model server beside a bare aiohttp handler, a Flask service, MLServer and Ray "
        "Serve; from S3; and with very many tenants. From the root of the repository, ten minutes on two "
        "cores that do nothing else. docs/benchmarks.md has the method and the targets.",
    )
    parser.add_argument(
        "--only", type=_names(_SECTIONS), default=list(_SECTIONS), help=", ".join(_SECTIONS)
    )
    parser.add_argument(
        "--peers", type=_names(CONTENDERS), default=list(CONTENDERS), help=", ".join(CONTENDERS)
    )
    parser.add_argument("--rounds", type=int, default=3, help="in which servers take turns; default 3")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn; default 4")
    parser.add_argument("--quick", action="store_true", help="a tenth of the tenants, to see that it runs")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/benchmarks.md shows it")
    parser.add_argument("--profile", action="store_true", help="instead: where our server's time goes")
    given = parser.parse_args()
    try:
        wrk.require()
    except wrk.WrkMissing as error:
        sys.exit(f"Error: {error}")
    heading = report.heading()
    cores.leave_the_servers_alone()
    with tempfile.TemporaryDirectory(prefix="tenantry-benchmark-") as folder:
        options = Options(Path(folder), frozenset(given.peers), given.rounds, given.seconds, given.quick)
        if given.profile:
            print(f"{heading}\n\n{profile.profile(options)}")
            return
        rows: list[Row] = []
        for name in given.only:
            began_s = time.perf_counter()
            print(f"{name} …", file=sys.stderr, flush=True)
            rows += _SECTIONS[name](options)
            print(f"{name}: {time.perf_counter() - began_s:.0f} s", file=sys.stderr, flush=True)
    table = report.as_markdown if given.markdown else report.as_text
    print(f"{heading}\n\n{table(rows)}")


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    """A parser of a list with commas."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    main()

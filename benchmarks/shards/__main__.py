"""`python -m benchmarks.shards`: a server joins, very many tenants, extra hops, more servers, sidecars."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.operator.report import Row, show
from benchmarks.serving.report import heading
from benchmarks.shards import beside, crowd, hop, join, locality


def main() -> None:
    """Measure, print, and say what missed its target."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shards",
        description="Model servers that come, and requests that reach the wrong one. From the root of the "
        "repository; about five minutes. docs/benchmarks.md has the method and the targets.",
    )
    parser.add_argument(
        "--tenants", type=int, default=20_000, help="while a server joins, and of fleets; default 20000"
    )
    parser.add_argument(
        "--crowd", type=int, default=100_000, help="of the map and the start; default 100000"
    )
    parser.add_argument(
        "--only", choices=["join", "crowd", "hop", "locality", "beside"], help="one part of it"
    )
    given = parser.parse_args()
    parts: dict[str, Callable[[Path], list[Row]]] = {
        "join": lambda folder: join.join(folder, given.tenants),
        "crowd": lambda folder: crowd.crowd(folder, given.crowd),
        "hop": hop.hop,
        "locality": lambda folder: locality.locality(folder, given.tenants),
        "beside": lambda folder: beside.beside(folder, given.tenants),
    }
    print(heading(), flush=True)
    for name, part in parts.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="tenantry-benchmark-") as folder:
                show(name, part(Path(folder) / name))


if __name__ == "__main__":
    main()

"""`python -m benchmarks.operator`: the operator on a real API server, against a bare loop of PATCHes."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.support.databases import postgres
from tests.support.kubernetes.binaries.envtest_assets import provide
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import Home, install_crd

from benchmarks.operator import latency, throughput
from benchmarks.operator.cluster import Cluster


def main() -> None:
    """Measure, print, and say what missed its target."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operator",
        description="The operator on a real API server, against a bare loop of PATCHes: throughput, then "
        "latency. From the root of the repository; about five minutes. docs/benchmarks.md has the targets.",
    )
    parser.add_argument("--tenants", type=int, default=10_000, help="created at once; default 10000")
    parser.add_argument("--updates", type=int, default=100, help="for the latency; default 100")
    parser.add_argument("--sqlite", action="store_true", help="an SQLite registry instead of PostgreSQL")
    parser.add_argument("--only", choices=["throughput", "latency"], help="one half of it")
    options = parser.parse_args()
    if options.only != "latency":
        _run(throughput.measure, options.tenants, sqlite=options.sqlite)
    if options.only != "throughput":
        _run(latency.measure, options.updates, sqlite=options.sqlite)


def _run(measure: "Measure", count: int, *, sqlite: bool) -> None:
    """On a control plane and a registry of its own, gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-benchmark-") as folder,
        ControlPlane(provide(), audit=True) as plane,
        postgres.running() as database,
    ):
        install_crd(plane)
        home = Home(plane, Path(folder), None if sqlite else database.database())
        try:
            asyncio.run(measure(Cluster(plane), home, count))
        finally:
            home.stop()


Measure = throughput.Measure

if __name__ == "__main__":
    main()

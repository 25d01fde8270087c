"""Requests a second with keys and without: two servers of one tree, which take turns under `wrk`."""

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.support.waiting import until

from benchmarks.serving import ours, wrk
from benchmarks.serving.endpoint import Ask, Endpoint, WrongAnswer, check
from benchmarks.serving.tenants import Tenants
from benchmarks.serving.throughput import interleaved
from benchmarks.trust.options import Options, met
from tenantry.registry import KeyBook, Scope, open_engine

TENANTS = 50
TARGET = 0.95
_ON = {"TENANTRY_AUTH": "required", "TENANTRY_FLEET_SECRET": "of the benchmark"}
_DAY_S = 86_400.0


def run(given: Options) -> None:
    """Measure, and print the ratio beside its target."""
    wrk.require()
    with tempfile.TemporaryDirectory(prefix="tenantry-keys-") as name, ExitStack() as stack:
        folder = Path(name)
        tenants = Tenants("ridge", folder / "ridge", TENANTS)
        tenants.write()
        ids = ours.file_ids(tenants)
        off = stack.enter_context(ours.running(tenants, ids, folder / "off"))
        on = stack.enter_context(ours.running(tenants, ids, folder / "on", _ON))
        off, on = replace(off, name="off"), _with_keys(on, folder / "on")
        check(off, tenants)
        until(lambda: _answers(on, tenants), "the keys are read")
        rounds = interleaved([off, on], rounds=given.rounds, seconds=given.seconds)
    least, middle, most = rounds.ratios("on", "off")
    cpu = {each: rounds.load(each).cpu_us for each in ("off", "on")}
    for each, words in (("off", "TENANTRY_AUTH=off"), ("on", "a key for each user")):
        print(f"  {words:22} {rounds.load(each).per_s:9,.0f} a second  {cpu[each]:6.1f} us of CPU")
    print(
        f"  keys on / off: {middle:.3f} ({least:.3f} to {most:.3f}), by CPU {cpu['off'] / cpu['on']:.3f} "
        f"(target {TARGET:g}: {met(yes=middle >= TARGET)})"
    )


def _with_keys(endpoint: Endpoint, folder: Path) -> Endpoint:
    """The same, asked for each user with a key for that user alone."""
    engine = open_engine(f"sqlite:///{folder}/registry.db")
    book, asks = KeyBook(engine), []
    for one in endpoint.requests:
        key = book.create([one.path.rpartition("/")[2]], Scope.PREDICT, _DAY_S)
        asks.append(Ask(one.path, {**one.headers, "Authorization": f"Bearer {key}"}))
    engine.dispose()
    return replace(endpoint, name="on", requests=tuple(asks))


def _answers(endpoint: Endpoint, tenants: Tenants) -> bool:
    try:
        check(endpoint, tenants)
    except WrongAnswer:
        return False
    return True

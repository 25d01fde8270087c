"""Warm tenants over HTTP, round robin: our server against the others, all with the same row."""

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.serving import ours
from benchmarks.serving.contenders import CONTENDERS
from benchmarks.serving.endpoint import JSON, Ask, Endpoint, WrongAnswer, check
from benchmarks.serving.environments import PeerUnavailable
from benchmarks.serving.options import Options
from benchmarks.serving.report import Row, quantiles, rate, spread
from benchmarks.serving.tenants import ROW, Tenants
from benchmarks.serving.throughput import Rounds, cpu, interleaved
from tenantry_server.wire.heads import JSON_LENGTH

_RIDGE_TENANTS = 50
_FOREST_TENANTS = 3
_RIDGE = {"bare": 2.0, "flask": 30.0, "mlserver": 8.0, "ray": 60.0}  # ratio, at least
_TEXTS = 0.67
_FOREST = {"bare": 0.8, "flask": 40.0}
_TENSORS = 0.7
# Its daemons work while nobody asks: it races on its own, so that they slow down nobody else's.
_APART = frozenset({"ray"})


def ridge(options: Options) -> list[Row]:
    """A StandardScaler and Ridge for each of 50 tenants."""
    tenants = ridge_tenants(options)
    return _races(tenants, f"Ridge pipeline, {_RIDGE_TENANTS} tenants", _RIDGE, options)


def ridge_tenants(options: Options) -> Tenants:
    """Those of `ridge`, with their artifacts."""
    tenants = Tenants("ridge", options.folder / "ridge", _RIDGE_TENANTS)
    tenants.write()
    return tenants


def texts(options: Options) -> list[Row]:
    """A OneHotEncoder on three columns of texts before Ridge, beside the Ridge of numbers alone."""
    encoded = Tenants("texts", options.folder / "texts", _RIDGE_TENANTS)
    encoded.write()
    numbers = ridge_tenants(options)
    with (
        warm_server(encoded, options.folder / "texts-ours") as ours_,
        warm_server(numbers, options.folder / "ridge-beside") as beside,
    ):
        own, other = replace(ours_, name="texts"), replace(beside, name="the same with numbers only")
        rounds = interleaved([own, other], rounds=options.rounds, seconds=options.seconds)
        for endpoint, tenants in ((own, encoded), (other, numbers)):
            check(endpoint, tenants)
    return [compared(f"OneHotEncoder, Ridge, {_RIDGE_TENANTS} tenants", rounds, own, other, _TEXTS)]


def v2(options: Options) -> list[Row]:
    """The same row as a tensor of the Open Inference Protocol, in JSON and in binary, beside our form."""
    tenants = ridge_tenants(options)
    with warm_server(tenants, options.folder / "v2") as server:
        native = replace(server, name="ours native")
        asked = [
            replace(native, name=name, requests=_infer(tenants, headers), body=body, parse=parse, read=read)
            for name, headers, body, parse, read in _tensors()
        ]
        for endpoint in asked:
            check(endpoint, tenants)
        rounds = interleaved([native, *asked], rounds=options.rounds, seconds=options.seconds)
    return [
        compared(f"Ridge pipeline, {endpoint.name}", rounds, endpoint, native, _TENSORS)
        for endpoint in asked
    ]


_Read = Callable[[Any], float]


def _tensors() -> Iterator[tuple[str, dict[str, str], bytes, Callable[[bytes], Any], _Read]]:
    """The name, headers and body of each form, and how its answer is read."""
    values = list(ROW.values())
    tensor = {"name": "input-0", "shape": [1, len(values)], "datatype": "FP64"}
    body = json.dumps({"inputs": [tensor | {"data": values}]}).encode()
    yield "V2 JSON", JSON, body, json.loads, lambda answer: float(answer["outputs"][0]["data"][0])
    raw = struct.pack(f"<{len(values)}d", *values)
    head = json.dumps(
        {
            "inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}
    yield "V2 binary", headers, head + raw, lambda answer: struct.unpack("<d", answer[-8:])[0], float


def _infer(tenants: Tenants, headers: dict[str, str]) -> tuple[Ask, ...]:
    return tuple(Ask(f"/v2/models/{tenants.user_id(n)}/infer", headers) for n in range(tenants.count))


def forest(options: Options) -> list[Row]:
    """A forest of 100 trees for each of a few tenants."""
    tenants = Tenants("forest", options.folder / "forest", _FOREST_TENANTS)
    tenants.write()
    return _races(tenants, f"100-tree forest, {_FOREST_TENANTS} tenants", _FOREST, options)


def _races(tenants: Tenants, workload: str, targets: dict[str, float], options: Options) -> list[Row]:
    wanted = [name for name in targets if name in options.peers]
    together = [name for name in wanted if name not in _APART]
    rows: list[Row] = []
    with warm_server(tenants, options.folder / f"{tenants.kind}-ours") as own:
        for names in [together, *([name] for name in wanted if name in _APART)]:
            rows += _race(own, tenants, workload, {name: targets[name] for name in names}, options)
    return rows


@contextmanager
def warm_server(tenants: Tenants, folder: Path) -> Iterator[Endpoint]:
    """Ours, with every tenant in memory and its answers checked."""
    with ours.running(tenants, ours.file_ids(tenants), folder) as own:
        check(own, tenants)
        yield own


def _race(
    own: Endpoint, tenants: Tenants, workload: str, targets: dict[str, float], options: Options
) -> list[Row]:
    missing: dict[str, str] = {}
    there: dict[str, Endpoint] = {}
    with ExitStack() as stack:
        for name in targets:
            try:
                there[name] = stack.enter_context(CONTENDERS[name](tenants, options.folder / tenants.kind))
                check(there[name], tenants)
            except (PeerUnavailable, WrongAnswer) as error:
                there.pop(name, None)
                missing[name] = str(error)
        everybody = [own, *there.values()]
        rounds = interleaved(everybody, rounds=options.rounds, seconds=options.seconds)
        for endpoint in everybody:
            check(endpoint, tenants)
    return [
        compared(workload, rounds, own, there[name], target)
        if name in there
        else Row(workload, name, target=f"at least {target:g}", note=missing[name])
        for name, target in targets.items()
    ]


def compared(workload: str, rounds: Rounds, own: Endpoint, other: Endpoint, target: float) -> Row:
    """Return the line of two servers that were asked in turns."""
    mine, theirs = rounds.load(own.name), rounds.load(other.name)
    ratios = rounds.ratios(own.name, other.name)
    return Row(
        workload,
        other.name,
        rate(mine),
        rate(theirs),
        spread(*ratios),
        f"at least {target:g}",
        ratios[1] >= target,
        quantiles(mine.p50_ms, mine.p99_ms),
        quantiles(theirs.p50_ms, theirs.p99_ms),
        cpu=cpu(rounds, own.name, other.name),
    )

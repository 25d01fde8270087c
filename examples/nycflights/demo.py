"""The main job on real data: train, publish, serve, update and delete over two thousand tenants.

`python -m examples.nycflights.demo` serves until Ctrl-C; with --once it ends after the table, with a
non-zero exit status if any step went wrong.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from examples.nycflights.aircraft import FEATURES, Aircraft, fleet
from examples.nycflights.running import (
    Place,
    WrongStepError,
    empty,
    predict,
    ready_generations,
    server_endpoints,
    serving,
    until,
)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tenantry_server import publish

console = Console(highlight=False)
_SAMPLE = 8


def main() -> int:
    """Run every step; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the table")
    parser.add_argument("--tenants", type=int, help="only the first N aircraft")
    parser.add_argument("--folder", type=Path, default=Path("demo-data"), help="made again each time")
    parser.add_argument("--port", type=int, default=0, help="0: one that the system chooses")
    chosen = parser.parse_args()
    place = Place(chosen.folder.absolute())
    empty(place.root)
    try:
        with console.status("reading 336,776 flights"):
            aircraft = fleet(chosen.tenants)
        expected = train_all(aircraft, place)
        with serving(place, chosen.port) as url:
            wait_until_ready(place, len(aircraft))
            check_all(aircraft, expected, url)
            show(aircraft, place, url)
            if not chosen.once:
                _stay(aircraft[0], url)
    except WrongStepError as error:
        console.print(f"[bold red]wrong:[/] {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def train_all(aircraft: Sequence[Aircraft], place: Place) -> list[float]:
    """Train, publish and declare one model for each aircraft.

    Returns:
        the prediction of each model for its aircraft's newest flight, in minutes.
    """
    expected = []
    with _bar() as progress, ProcessPoolExecutor(os.cpu_count()) as pool:
        task = progress.add_task("training and publishing", total=len(aircraft))
        for value in pool.map(_train_one, aircraft, [place] * len(aircraft), chunksize=16):
            expected.append(value)
            progress.advance(task)
    return expected


def _train_one(aircraft: Aircraft, place: Place) -> float:
    model = aircraft.train()
    publish(model, user_id=aircraft.tail_number, to=place.models, manifests=place.manifests)
    return float(model.predict(pd.DataFrame(aircraft.rows())[FEATURES])[0])


def check_all(aircraft: Sequence[Aircraft], expected: Sequence[float], url: str) -> None:
    """Ask for every tenant once, and compare with its own model.

    Raises:
        WrongStepError: an answer is not that model's.
    """
    with _bar() as progress:
        task = progress.add_task("asking every tenant", total=len(aircraft))
        for one, value in zip(aircraft, expected, strict=True):
            answer = predict(url, one.tail_number, one.rows())
            if answer.status != 200 or not math.isclose(answer.body[0], value, rel_tol=1e-9):
                raise WrongStepError(f"{one.tail_number}: expected [{value}], got {answer}")
            progress.advance(task)
    console.print(f"{len(aircraft):,} of {len(aircraft):,} answers equal the tenant's own model")


def wait_until_ready(place: Place, expected: int) -> None:
    """Wait until the registry says Ready for every tenant."""
    with _bar() as progress:
        task = progress.add_task("loading and checking", total=expected)

        def all_ready() -> bool:
            count = len(ready_generations(place))
            progress.update(task, completed=count)
            return count >= expected

        until(all_ready, "not every tenant became Ready", every_s=0.5)


def show(aircraft: Sequence[Aircraft], place: Place, url: str) -> None:
    """Predict, update one tenant, delete another, and print what was seen."""
    step = max(1, len(aircraft) // _SAMPLE)
    sample = aircraft[::step][:_SAMPLE]
    table = Table(
        "tenant", "version", "arr_delay", "own model", "p50 ms", title="every tenant its own model"
    )
    for one in sample:
        table.add_row(*_checked(one, one.train(), url))
    updated, deleted = sample[0], sample[-1]
    before = predict(url, updated.tail_number, updated.rows())
    servers = server_endpoints(place)
    took_s = _update(updated, place, url)
    table.add_section()
    table.add_row(*_checked(updated, updated.train(alpha=1000.0), url))
    console.print(table)
    if server_endpoints(place) != servers:
        raise WrongStepError("a server was restarted by an update")
    after = predict(url, updated.tail_number, updated.rows())
    console.print(
        f"{updated.tail_number}: manifest edited, new version answers after {took_s:.2f} s, nothing "
        f"restarted ({_short(before.model_id)} -> {_short(after.model_id)})"
    )
    took_s = _delete(deleted, place, url)
    console.print(f"{deleted.tail_number}: manifest deleted, 404 after {took_s:.2f} s")
    _print_cache(place)


def _checked(aircraft: Aircraft, model: Any, url: str) -> tuple[str, ...]:
    """A row of the table, after the answer was compared with the aircraft's own model."""
    rows = aircraft.rows()
    expected = float(model.predict(pd.DataFrame(rows)[FEATURES])[0])
    answers = [predict(url, aircraft.tail_number, rows) for _ in range(20)]
    for answer in answers:
        if answer.status != 200 or not math.isclose(answer.body[0], expected, rel_tol=1e-9):
            raise WrongStepError(f"{aircraft.tail_number}: expected [{expected}], got {answer}")
    return (
        aircraft.tail_number,
        _short(answers[0].model_id),
        f"{answers[0].body[0]:.3f}",
        f"{expected:.3f}",
        f"{statistics.median(answer.ms for answer in answers):.2f}",
    )


def _update(aircraft: Aircraft, place: Place, url: str) -> float:
    """Publish a new version; seconds from the edited manifest to its first answer."""
    old = predict(url, aircraft.tail_number, aircraft.rows()).model_id
    publish(
        aircraft.train(alpha=1000.0),
        user_id=aircraft.tail_number,
        to=place.models,
        manifests=place.manifests,
    )
    began_s = time.monotonic()
    until(
        lambda: predict(url, aircraft.tail_number, aircraft.rows()).model_id != old,
        "the new version never answered",
    )
    took_s = time.monotonic() - began_s
    # One server answering is not all of them: Ready says when no older answer is left.
    until(lambda: ready_generations(place, aircraft.tail_number) == [2], "the update never became Ready")
    return took_s


def _delete(aircraft: Aircraft, place: Place, url: str) -> float:
    """Delete the manifest; seconds until every server answers 404."""
    for path in place.manifests.glob("*.yaml"):
        if path.name.startswith(f"{aircraft.tail_number.lower()}-"):
            path.unlink()
    began_s = time.monotonic()
    in_a_row = 0

    def gone() -> bool:
        nonlocal in_a_row
        answer = predict(url, aircraft.tail_number, aircraft.rows())
        in_a_row = in_a_row + 1 if answer.status == 404 else 0
        return in_a_row >= 10

    until(gone, "the deleted tenant still answers")
    return time.monotonic() - began_s


def _print_cache(place: Place) -> None:
    table = Table("server", "models in memory", "cache", "hits", "cold loads", "evictions", title="servers")
    for server_id, endpoint in server_endpoints(place).items():
        with urllib.request.urlopen(f"{endpoint}/metrics", timeout=30) as reply:
            lines = [line.rsplit(" ", 1) for line in reply.read().decode().splitlines()]
        values = {line[0]: float(line[1]) for line in lines if not line[0].startswith("#")}
        table.add_row(
            server_id,
            f"{values['tenantry_cache_models']:,.0f}",
            f"{values['tenantry_cache_bytes'] / 2**20:.1f} MiB",
            *(
                f"{values[f'tenantry_cache_{name}_total']:,.0f}"
                for name in ("hits", "cold_loads", "evictions")
            ),
        )
    console.print(table)


def _stay(aircraft: Aircraft, url: str) -> None:
    body = json.dumps(aircraft.rows())
    console.print("\nStill serving; Ctrl-C ends it. Try:\n")
    console.print(f"  curl -d '{body}' {url}/predict/{aircraft.tail_number}\n", soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _short(model_id: str) -> str:
    return model_id.rpartition("sha256=")[2][:8]


if __name__ == "__main__":
    sys.exit(main())

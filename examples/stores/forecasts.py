"""A forecast for each of sixty real series: train, publish with an example, serve, ask, compare, plot.

`python -m examples.stores.forecasts` needs statsmodels and matplotlib. It ends with a picture, stores.png,
and with a non-zero exit status if a forecast is not the one of its own model.
"""

import argparse
import json
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from examples.nycflights.running import Place, WrongStepError, empty, ready_generations, serving, until
from examples.stores.demand import Item, items
from rich.console import Console
from rich.progress import track

from tenantry_server import publish

DAYS = 14
ASKED = {"horizon": DAYS, "quantiles": [0.1, 0.9]}
_SHOWN = 9  # in the picture
_BEFORE = 42  # days of it before the forecast
console = Console(highlight=False)


def main() -> int:
    """Run every step; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=60, help="only the N that are sold most")
    parser.add_argument("--folder", type=Path, default=Path("demo-data"), help="made again each time")
    parser.add_argument("--png", type=Path, default=Path("stores.png"), help="where the picture goes")
    chosen = parser.parse_args()
    place = Place(chosen.folder.absolute())
    empty(place.root)
    every = list(items(chosen.items))
    own = {
        item.user_id: _publish(item, place)
        for item in track(every, "training and publishing", console=console)
    }
    try:
        with serving(place) as url:
            until(lambda: len(ready_generations(place)) >= len(every), "not every tenant became Ready")
            answers = {item.user_id: _checked(url, item, own[item.user_id]) for item in every}
    except WrongStepError as error:
        console.print(f"[bold red]wrong:[/] {error}")
        return 1
    console.print(f"{len(answers)} of {len(every)} forecasts equal the tenant's own model")
    _report(every, answers)
    _plot(every[:_SHOWN], answers, chosen.png)
    console.print(f"drawn in {chosen.png}")
    return 0


def _publish(item: Item, place: Place) -> "pd.Series[float]":
    """Train and publish one model, and return its own forecast."""
    fitted = item.train(DAYS)
    publish(fitted, user_id=item.user_id, to=place.models, manifests=place.manifests, example=ASKED)
    own: pd.Series[float] = fitted.forecast(DAYS)
    return own


def _checked(url: str, item: Item, own: "pd.Series[float]") -> pd.DataFrame:
    """Ask for one forecast, and compare it with the model's own."""
    request = urllib.request.Request(f"{url}/forecast/{item.user_id}", data=json.dumps(ASKED).encode())
    with urllib.request.urlopen(request, timeout=60) as reply:
        steps: list[dict[str, Any]] = json.loads(reply.read())["forecast"]
    answer = pd.DataFrame(steps).set_index("time")
    if list(answer.index) != [str(day.date()) for day in own.index] or not np.allclose(answer["mean"], own):
        raise WrongStepError(f"{item.user_id}: expected {own.tolist()}, got {steps}")
    return answer.set_axis(own.index, axis=0)


def _report(every: Sequence[Item], answers: Mapping[str, pd.DataFrame]) -> None:
    """Print how far the forecasts were from what was then sold, beside the same day of the week before."""
    misses, naive, inside = [], [], []
    for item in every:
        answer, actual = answers[item.user_id], item.sold.iloc[-DAYS:]
        misses.append((answer["mean"] - actual).abs().mean())
        naive.append((item.sold.shift(DAYS).iloc[-DAYS:] - actual).abs().mean())
        inside.append(((actual >= answer["0.1"]) & (actual <= answer["0.9"])).mean())
    console.print(
        f"mean miss {np.mean(misses):.2f} a day, {np.mean(naive):.2f} by the same day two weeks before; "
        f"{np.mean(inside):.0%} of the days lie between the quantiles 0.1 and 0.9"
    )


def _plot(every: Sequence[Item], answers: Mapping[str, pd.DataFrame], path: Path) -> None:
    figure, axes = plt.subplots(3, 3, figsize=(14, 8), sharex=True)
    for item, axis in zip(every, axes.flat, strict=False):
        answer = answers[item.user_id]
        recent = item.sold.iloc[-DAYS - _BEFORE :]
        axis.plot(recent.index, recent, color="0.5", linewidth=1, label="sold")
        axis.plot(answer.index, answer["mean"], color="C0", label="forecast")
        axis.fill_between(answer.index, answer["0.1"], answer["0.9"], alpha=0.25, label="0.1 to 0.9")
        axis.set_title(item.user_id, fontsize=9)
    axes.flat[0].legend(fontsize=7)
    figure.autofmt_xdate()
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())

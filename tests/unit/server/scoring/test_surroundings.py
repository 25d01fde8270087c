"""What a model may change for others, and that it is as before afterwards."""

import decimal
import gc
import locale
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn

from tenantry_server.scoring import surroundings
from tenantry_server.scoring.surroundings import Surroundings


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test that fails leaves behind."""
    for module, names in ((random, ("seed", "setstate")), (np.random, ("seed", "set_state"))):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(surroundings, "_kept", [])
    surroundings.keep()
    surroundings._kept.clear()
    with warnings.catch_warnings():
        kept = Surroundings()
        yield
        kept.restore()


def _drawn_from() -> list[int]:
    keys: list[int] = np.random.get_state(legacy=False)["state"]["key"].tolist()
    return keys


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "scikit-learn": (lambda: sklearn.set_config(transform_output="pandas"), sklearn.get_config),
    "NumPy": (lambda: np.seterr(all="raise"), np.geterr),
    "decimals": (lambda: decimal.getcontext().__setattr__("prec", 3), lambda: decimal.getcontext().prec),
    "warnings": (lambda: warnings.simplefilter("error", UserWarning), lambda: list(warnings.filters)),
    "folder": (lambda: os.chdir("/"), Path.cwd),
    "locale": (lambda: locale.setlocale(locale.LC_ALL, "C"), lambda: locale.setlocale(locale.LC_ALL)),
    "pandas": (
        lambda: pd.set_option("mode.string_storage", "python"),
        lambda: pd.get_option("mode.string_storage"),
    ),
    "signal handlers": (
        lambda: signal.signal(signal.SIGUSR2, lambda *_: None),
        lambda: signal.getsignal(signal.SIGUSR2),
    ),
    "umask": (lambda: os.umask(0o077), _umask),
    "garbage collection": (gc.disable, gc.isenabled),
    "recursion": (lambda: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "tracing": (lambda: sys.settrace(lambda *_: None), sys.gettrace),
    "random": (lambda: random.seed(1), random.getstate),
    "NumPy's random": (lambda: np.random.seed(1), _drawn_from),
}


@pytest.mark.parametrize(("change", "seen"), CHANGES.values(), ids=CHANGES)
def test_what_a_call_changes_is_put_back(
    change: Callable[[], object],
    seen: Callable[[], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    kept, before = Surroundings(), seen()
    kept.kept(change)
    assert seen() == before

    def change_and_fail() -> None:
        change()
        assert seen() != before
        raise ValueError("of a model")

    with pytest.raises(ValueError, match="of a model"):
        kept.kept(change_and_fail)
    assert seen() == before
    locale.setlocale(locale.LC_ALL, "C")


def test_a_folder_that_was_removed_is_left(tmp_path: Path) -> None:
    kept = Surroundings()

    def gone() -> None:
        folder = tmp_path / "of-a-model"
        folder.mkdir()
        os.chdir(folder)
        folder.rmdir()

    before = Path.cwd()
    kept.kept(gone)
    assert Path.cwd() == before


def test_a_folder_of_the_server_that_was_removed_fails_no_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "of-the-server"
    folder.mkdir()
    monkeypatch.chdir(folder)
    kept = Surroundings()
    folder.rmdir()
    assert kept.kept(lambda: 7) == 7
    assert Surroundings().kept(lambda: 8) == 8


def test_a_process_that_did_not_ask_for_it_is_left_alone() -> None:
    """A small server of one's own may configure scikit-learn as it likes."""
    assert not surroundings._kept
    surroundings.kept(lambda: sklearn.set_config(display="text"))
    assert sklearn.get_config()["display"] == "text"

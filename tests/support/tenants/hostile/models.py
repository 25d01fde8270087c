"""Models that do what no model should, for servers of the tests' own to load."""

import ctypes
import decimal
import importlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, RegressorMixin

from tenantry import Model
from tenantry.model import Predictions


class HeldUp:
    """A model whose load goes on until a test allows it to end.

    Args:
        model: what is loaded in the end.
        folder: where `begun` and `allowed` are files that this and the test make.
    """

    def __init__(self, model: Any, folder: Path) -> None:
        self._model = model
        self.begun = folder / "begun"
        self.allowed = folder / "allowed"

    def __reduce__(self) -> tuple[Any, ...]:
        return _once_allowed, (self._model, str(self.begun), str(self.allowed))


def _once_allowed(model: Any, begun: str, allowed: str) -> Any:
    Path(begun).touch()
    while not os.access(allowed, os.F_OK):  # without a frame of its own, as the stack is read
        time.sleep(0.01)
    return model


class Ends(Model):
    """Ends the process where a row asks for it: ``x`` below 0."""

    feature_names = ("x",)

    def predict(self, data: pd.DataFrame) -> Predictions:
        if (data["x"] < 0).any():
            os._exit(9)
        return data["x"].to_numpy()


class Waits(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator of one's own: quick, until ``x`` names seconds to wait for without using a processor."""

    def fit(self, rows: Any, _targets: Any) -> "Waits":
        self.n_features_in_ = np.shape(rows)[1]
        return self

    def predict(self, rows: Any) -> Predictions:
        first = np.asarray(rows, dtype=float)[:, 0]
        time.sleep(float(first.max()))
        return first


class Reconfigures(Waits):
    """Leaves settings of libraries and of the process behind, and a timer that would end it."""

    def predict(self, rows: Any) -> Predictions:
        sklearn.set_config(transform_output="pandas")
        np.seterr(all="raise")
        os.chdir("/")
        os.umask(0o777)
        random.seed(1)
        np.random.seed(1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return np.asarray(rows, dtype=float)[:, 0]


class Parallels(Waits):
    """Asks for a process on every core."""

    def predict(self, rows: Any) -> Predictions:
        first = np.asarray(rows, dtype=float)[:, 0]
        pids = Parallel(n_jobs=4)(delayed(os.getpid)() for _ in range(4))
        return first + len(set(pids))


class Quotes(Model):
    """Raises with what it was asked, as many libraries do."""

    feature_names = ("c",)

    def predict(self, data: pd.DataFrame) -> Predictions:
        raise RuntimeError(f"can't take {data['c'].tolist()}")


class Misbehaves(Model):
    """Does to its process what a row names in ``do``: one of the methods below, or nothing."""

    feature_names = ("do",)

    def predict(self, data: pd.DataFrame) -> Predictions:
        for what in data["do"]:
            getattr(self, f"_{what}", lambda: None)()
        return np.full(len(data), 7.0)

    def _exit(self) -> None:
        os._exit(9)

    def _sys_exit(self) -> None:
        sys.exit(3)

    def _segfault(self) -> None:
        ctypes.string_at(0)

    def _abort(self) -> None:
        os.abort()

    def _fork(self) -> None:
        if os.fork() == 0:
            time.sleep(3600)

    def _fork_and_return(self) -> None:
        os.fork()

    def _start_threads(self) -> None:
        for _ in range(8):
            threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()

    def _close_descriptors(self) -> None:
        os.closerange(0, 1000)

    def _print(self) -> None:
        print("a word to standard output")
        print("a word to standard error", file=sys.stderr)

    def _flood(self) -> None:
        for _ in range(20_000):
            print("x" * 200)

    def _hang(self) -> None:
        while True:
            pass

    def _recurse(self) -> None:
        self._recurse()

    def _raise(self) -> None:
        raise KeyboardInterrupt

    def _change_everything(self) -> None:
        sklearn.set_config(transform_output="pandas")
        np.seterr(all="raise")
        os.chdir("/")
        os.umask(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        np.random.seed(0)
        warnings.simplefilter("error")
        decimal.getcontext().prec = 2

    def _kill_parent(self) -> None:
        os.kill(os.getppid(), signal.SIGKILL)

    def _scribble(self) -> None:
        """Write to every descriptor that is open."""
        for fd in range(3, 64):
            with suppress(OSError):
                os.write(fd, b"\xff" * 64)


class Pries(Model):
    """Tries what a row says; predicts 1 where that worked and 0 where it was refused."""

    feature_names = ("what", "where")

    def predict(self, data: pd.DataFrame) -> Predictions:
        tried = zip(data["what"], data["where"], strict=True)
        return np.array([self._works(what, where) for what, where in tried], dtype=float)

    def _works(self, what: str, where: str) -> bool:
        try:
            getattr(self, f"_{what}")(where)
        except PermissionError:
            return False
        return True

    def _read(self, where: str) -> None:
        Path(where).read_bytes()

    def _look_around(self, where: str) -> None:
        list(Path(where).iterdir())

    def _write(self, where: str) -> None:
        Path(where).write_text("a word")

    def _keep_for_a_while(self, _where: str) -> None:
        with tempfile.NamedTemporaryFile("w+") as file:
            file.write("a word")
            file.flush()
            assert Path(file.name).read_text() == "a word"

    def _connect(self, where: str) -> None:
        socket.create_connection(("127.0.0.1", int(where)), timeout=5).close()

    def _listen(self, _where: str) -> None:
        socket.create_server(("127.0.0.1", 0)).close()

    def _signal(self, where: str) -> None:
        os.kill(int(where), 0)

    def _import(self, where: str) -> None:
        importlib.import_module(where)

    def _run(self, where: str) -> None:
        subprocess.run([where], check=True, capture_output=True)


class Leaks(Model):
    """Keeps 4 MiB of each call."""

    feature_names = ("x",)

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def predict(self, data: pd.DataFrame) -> Predictions:
        self._kept.append(bytearray(b"x") * (4 << 20))
        return data["x"].to_numpy()


class LoadsSlowly(Model):
    """Takes two seconds to load, without a processor; while it is stopped, it gets no further.

    Args:
        begun: a file that is there once it loads.
    """

    def __init__(self, begun: Path) -> None:
        self._begun = begun

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["_begun"].touch()
        for _ in range(40):
            time.sleep(0.05)
        self.__dict__.update(state)

    def predict(self, data: pd.DataFrame) -> Predictions:
        return data.iloc[:, 0].to_numpy()


class EndsOnLoad:
    """A pickle that ends the process which loads it.

    Args:
        status: with which it ends; None: by a segmentation fault.
    """

    def __init__(self, status: int | None) -> None:
        self._status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return (ctypes.string_at, (0,)) if self._status is None else (os._exit, (self._status,))

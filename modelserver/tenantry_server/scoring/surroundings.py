"""What models share in a process: put back after each load and call, and held to one core.

A model's code may change how libraries compute for everybody. Only what belongs to the process or to the
thread is looked after here; a model that wants to do harm is not held up by it.
"""

import contextlib
import decimal
import functools
import gc
import importlib
import locale
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")
_PANDAS = "mode.string_storage"  # of pandas' options, the one that predictions see
_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGHUP", "SIGINT", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGUSR2", "SIGCHLD")
    if hasattr(signal, name)
)  # SIGUSR1 has a handler that Python does not know: it shows where a worker is
# Without the enumerations of `signal`, which cost more than everything else here.
_getsignal = importlib.import_module("_signal").getsignal
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Surroundings:
    """How things were when this was made, and what puts them back.

    Example:
        >>> import sklearn
        >>> surroundings = Surroundings()
        >>> surroundings.kept(lambda: sklearn.set_config(transform_output="pandas"))
        >>> sklearn.get_config()["transform_output"]
        'default'
    """

    def __init__(self) -> None:
        import pandas as pd  # noqa: PLC0415 - the front imports this module, and no such library
        import sklearn  # noqa: PLC0415 - as above

        self._libraries = sklearn, pd
        self._sklearn = sklearn.get_config()
        self._numpy = np.geterr()
        self._decimal = decimal.getcontext().copy()
        self._filters = list(warnings.filters)
        self._folder = _folder()
        self._locale = locale.setlocale(locale.LC_ALL)
        self._pandas = pd.get_option(_PANDAS)
        self._handlers = _handlers()
        self._has_timers = signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._interpreter = _interpreter()

    def kept(self, call: Callable[[], _T]) -> _T:
        """Call, and put back what it changed: 4 to 8 us.

        Raises:
            BaseException: what `call` raises.
        """
        try:
            return call()
        finally:
            self.restore()

    def restore(self) -> None:
        """Put back everything that differs from how it was."""
        self._restore_libraries()
        self._restore_process()
        if _seeds:
            _unseed()

    def _restore_libraries(self) -> None:
        sklearn, pd = self._libraries
        if sklearn.get_config() != self._sklearn:
            sklearn.set_config(**self._sklearn)
        if np.geterr() != self._numpy:
            np.seterr(**self._numpy)
        context = decimal.getcontext()
        if context.prec != self._decimal.prec or context.rounding != self._decimal.rounding:
            decimal.setcontext(self._decimal.copy())
        if warnings.filters != self._filters:
            warnings.filters[:] = self._filters  # type: ignore[index]
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        if pd.get_option(_PANDAS) != self._pandas:
            pd.set_option(_PANDAS, self._pandas)

    def _restore_process(self) -> None:
        if _folder() != self._folder:
            with contextlib.suppress(OSError):  # somebody removed it: no reason to fail a prediction
                os.chdir(self._folder)
        os.umask(self._umask)
        if not self._has_timers:  # one that is left over would end the process in another call
            for timer in _TIMERS:
                signal.setitimer(timer, 0)
        if _handlers() != self._handlers:
            for signum, handler in zip(_SIGNALS, self._handlers, strict=True):
                with contextlib.suppress(ValueError, TypeError):  # not the main thread, or not Python's own
                    signal.signal(signum, handler)
        if _interpreter() != self._interpreter:
            collects, recursion, trace, profile = self._interpreter
            (gc.enable if collects else gc.disable)()
            sys.setrecursionlimit(recursion)
            sys.settrace(trace)
            sys.setprofile(profile)


_kept: list[Surroundings] = []  # of this process, once it asked for that


def keep() -> None:
    """Put back from now on what models change, to how it is now; for a process that does nothing else."""
    _watch(random, "seed", random.getstate, random.setstate)
    _watch(random, "setstate", random.getstate, random.setstate)
    _watch(np.random, "seed", np.random.get_state, np.random.set_state)
    _watch(np.random, "set_state", np.random.get_state, np.random.set_state)
    _kept[:] = [Surroundings()]


def randomize() -> None:
    """Give this process random states of its own."""
    random.seed()
    np.random.seed()
    _seeds.clear()


_seeds: dict[str, tuple[Callable[[Any], object], object]] = {}
"""What a call seeded: what sets the state, and the state before. To compare states would cost 80 us."""


def _watch(
    module: Any, name: str, get_state: Callable[[], object], set_state: Callable[[Any], object]
) -> None:
    """Let a function that seeds note the state before."""
    seeds = getattr(module, name)

    @functools.wraps(seeds)
    def noted(*args: Any, **named: Any) -> Any:
        _seeds.setdefault(module.__name__, (set_state, get_state()))
        return seeds(*args, **named)

    setattr(module, name, noted)


def _unseed() -> None:
    """Put back the random states, so that what one model seeds is not what another one draws."""
    for set_state, state in list(_seeds.values()):
        set_state(state)
    _seeds.clear()


def kept(call: Callable[[], _T]) -> _T:
    """Call; where `keep` was called, put back what the call changed.

    Raises:
        BaseException: what `call` raises.
    """
    return _kept[0].kept(call) if _kept else call()


def hold_to_one_core() -> None:
    """Let no library use more than one thread, nor start processes; a server is one core.

    Estimators with `n_jobs` run one job after another, whatever backend they name.
    """
    import joblib  # noqa: PLC0415 - as above
    from joblib.parallel import SequentialBackend  # noqa: PLC0415 - as above
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - as above

    for name in ("loky", "multiprocessing", "threading"):
        joblib.register_parallel_backend(name, SequentialBackend, make_default=name == "loky")
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of libraries loaded later
    threadpool_limits(1)


def _handlers() -> list[Any]:
    return list(map(_getsignal, _SIGNALS))


def _interpreter() -> tuple[Any, ...]:
    return gc.isenabled(), sys.getrecursionlimit(), sys.gettrace(), sys.getprofile()


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a Path costs more than the call
    except OSError:  # it was removed
        return ""

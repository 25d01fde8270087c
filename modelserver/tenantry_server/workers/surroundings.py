"""What models share in a process: put back after each load and call, and held to one core.

A model's code may change how libraries compute for everybody. Only what belongs to the process or to the
thread is looked after here; a model that wants to do harm is not held up by it.
"""

import contextlib
import decimal
import locale
import os
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")
_PANDAS = "mode.string_storage"  # of pandas' options, the one that predictions see


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

    def kept(self, call: Callable[[], _T]) -> _T:
        """Call, and put back what it changed: about 5 us.

        Raises:
            BaseException: what `call` raises.
        """
        try:
            return call()
        finally:
            self.restore()

    def restore(self) -> None:
        """Put back everything that differs from how it was."""
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
        if _folder() != self._folder:
            with contextlib.suppress(OSError):  # somebody removed it: no reason to fail a prediction
                os.chdir(self._folder)
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        if pd.get_option(_PANDAS) != self._pandas:
            pd.set_option(_PANDAS, self._pandas)


_kept: list[Surroundings] = []  # of this process, once it asked for that


def keep() -> None:
    """Put back from now on what models change, to how it is now; for a process that does nothing else."""
    _kept[:] = [Surroundings()]


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


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a Path costs more than the call
    except OSError:  # it was removed
        return ""

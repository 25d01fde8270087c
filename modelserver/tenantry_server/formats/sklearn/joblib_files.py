"""Uncompressed files of joblib, read by Python's own unpickler, in a fifth of the time of joblib's own.

joblib writes each array outside of the pickle, right behind a frame that ends with the state of its
`NumpyArrayWrapper`; to put the array in its place, it unpickles in Python. Here the unpickler in C is shown
that frame with another end: one that asks for the persistent object that wrapper and state describe. Read
in joblib 1.5. Whatever looks different is left to joblib.
"""

import math
import pickle
import struct
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_FRAME, _BUILD = b"\x95", b"b"
_ASK = b"\x86Q"  # TUPLE2, BINPERSID
_LENGTH = struct.Struct("<Q")
_FIRST_WITH_FRAMES = 4  # of pickle's protocols
_NATIVE = ("=", "|", "<" if sys.byteorder == "little" else ">")


class Unusual(Exception):
    """The file is not written as joblib writes it by default, or not by joblib, or not whole."""


def loads(data: bytes) -> Any:
    """Return the content of a file, as `joblib.load` does.

    Raises:
        Unusual: only joblib can tell what it holds.
        Exception: a class raises it while an object is made.
    """
    if len(data) < 2 or data[1] < _FIRST_WITH_FRAMES:
        raise Unusual
    file = _File(data)
    try:
        return _Unpickler(file).load()
    except Unusual:
        raise
    except Exception as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # the code of a class
        raise Unusual from error


class _Wrapper:
    """Stands for an array until its state is known."""


class _File:
    """Bytes with a position, which an unpickler reads frame by frame."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._last = b""
        self._ends_otherwise = False

    def read(self, size: int) -> bytes:
        """Return what follows; a frame that ends with a state, one byte longer with the other end."""
        if self._ends_otherwise:
            self._ends_otherwise = False
            return self.plainly(size - 1)[:-1] + _ASK
        last, self._last = self._last, self.plainly(size)
        if last == _FRAME and size == _LENGTH.size:
            (length,) = _LENGTH.unpack(self._last)
            end = self._at + length
            if length and self._data[end - 1 : end] == _BUILD:
                self._ends_otherwise = True
                return _LENGTH.pack(length + 1)
        return self._last

    def readline(self) -> bytes:
        """Opcodes that are followed by a line are older than frames."""
        raise Unusual

    def plainly(self, size: int) -> bytes:
        """Return what follows as it stands."""
        first, self._at = self._at, self._at + size
        return self._data[first : self._at]

    def objects(self) -> Any:
        """Return the array of objects that follows, which is a pickle of its own."""
        return pickle.Unpickler(_Plain(self)).load()  # noqa: S301 - as joblib does; see the package's first words

    def numbers(self, dtype: "np.dtype[Any]", count: int) -> npt.NDArray[Any]:
        """Return the numbers that follow, aligned by so many bytes as the first one says."""
        self.plainly(self.plainly(1)[0])
        array = np.frombuffer(self._data, dtype, count, self._at).copy()
        self._at += array.nbytes
        return array


class _Plain:
    def __init__(self, file: _File) -> None:
        self.read = file.plainly
        self.readline = file.readline


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: _File) -> None:
        super().__init__(file)
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        return _Wrapper if (module, name) == _WRAPPER else super().find_class(module, name)

    def persistent_load(self, asked: Any) -> npt.NDArray[Any]:
        wrapper, state = asked
        if type(wrapper) is not _Wrapper:  # a frame that ended with any other object
            raise Unusual
        try:
            return self._array(**state)
        except Exception as error:  # of bytes that are not what joblib writes
            raise Unusual from error

    def _array(
        self,
        *,
        subclass: type,
        shape: tuple[int, ...],
        order: str,
        dtype: "np.dtype[Any]",
        numpy_array_alignment_bytes: int,
        allow_mmap: bool,  # noqa: ARG002 - for files on a disk
    ) -> npt.NDArray[Any]:
        if subclass is not np.ndarray or dtype.byteorder not in _NATIVE or not numpy_array_alignment_bytes:
            raise Unusual
        if dtype.hasobject:
            return self._file.objects()  # type: ignore[no-any-return]
        array = self._file.numbers(dtype, math.prod(shape))
        return array.reshape(shape[::-1]).transpose() if order == "F" else array.reshape(shape)

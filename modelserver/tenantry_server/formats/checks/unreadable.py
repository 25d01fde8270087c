"""Why an artifact can't be read, in words: what the file is instead, or where reading it ended.

A library says `KeyError: 110` where a byte is not an instruction of a pickle, or nothing at all where a
file was cut short. The person who published it needs to know which file to look at, and what to do.
"""

import re
import traceback
from functools import lru_cache
from pathlib import PurePath

from tenantry_server.formats.descriptor import Format
from tenantry_server.formats.known import FORMATS

# How other files begin that are found under the name of a model, and what each is.
_ELSE: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(start, re.IGNORECASE), words)
    for start, words in (
        (
            rb"version https://git-lfs",
            "a Git LFS pointer, not the file that it stands for; run git lfs pull",
        ),
        (rb"\s*<(!doctype html|html)", "an HTML page, perhaps the answer of a login or an error"),
        (rb"\s*<\?xml", "an XML document, perhaps the error of a store"),
        (rb"\x89PNG", "a PNG picture"),
        (rb"%PDF", "a PDF document"),
        (rb"PAR1", "a Parquet file: data, not a model"),
        (
            rb"PK\x03\x04",
            "a zip archive, as skops (.skops), Keras (.keras) and PyTorch (.pt) write; declare that format",
        ),
    )
)
_READERS = {
    *("pickle.py", "numpy_pickle.py", "numpy_pickle_utils.py", "compressor.py", "format_utils.py"),
    *("gzip.py", "bz2.py", "lzma.py", "_compression.py"),
}
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@lru_cache(maxsize=1)
def _else() -> tuple[tuple[re.Pattern[bytes], str], ...]:
    """Return how files begin that are told by it: those of formats last, the longest beginning first."""
    mistaken = sorted(
        (each for known in FORMATS for each in known.mistaken), key=lambda each: -len(each[0])
    )
    return (*_ELSE, *((re.compile(start), words) for start, words in mistaken))


def instead(data: bytes, chosen: Format) -> str | None:
    """Return what a file is that is of no use for this format; None: unknown.

    Example:
        >>> instead(b"<html>Not found</html>", FORMATS[0])
        'it is an HTML page, perhaps the answer of a login or an error'
    """
    start = data[:100]
    if chosen.begins and re.match(chosen.begins, start):
        return None
    return next((f"it is {words}" for pattern, words in _else() if pattern.match(start)), None)


def words(data: bytes, chosen: Format, error: BaseException) -> str:
    """Return why the reader of a format ended with `error`."""
    other = instead(data, chosen)
    if other is not None:
        return other
    said = f"{type(error).__name__}: {error}"
    if chosen.runs_pickles:
        missing = _missing(error)
        if missing is not None:
            return f"it needs {missing}, which can't be imported here ({said}); install it on the servers"
        if not _is_readers(error):
            return f"making the model of it fails with {said}"
    return f"it is not {chosen.kind}, or it is damaged: {_seen(error)}"


def _missing(error: BaseException) -> str | None:
    """Return the module, or the part of one, that a pickle names and this machine lacks."""
    if isinstance(error, ModuleNotFoundError) and _NAME.fullmatch(error.name or ""):
        return f"the Python module {error.name!r}"
    if isinstance(error, AttributeError) and _is_readers(error):
        for words_of_pickle in (
            r"Can't get attribute '(?P<part>[\w.]+)' on <module '(?P<module>[\w.]+)'",
            r"module '(?P<module>[\w.]+)' has no attribute '(?P<part>\w+)'",
        ):
            found = re.match(words_of_pickle, str(error))
            if found:
                return f"{found['part']!r} of the Python module {found['module']!r}"
    return None


def _is_readers(error: BaseException) -> bool:
    """Whether what reads the file raised it, not the code of a class that was read."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ImportError) or not frames or PurePath(frames[-1].filename).name in _READERS


def _seen(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], int):
        return f"the byte 0x{error.args[0]:02x} stands where an instruction of a pickle should"
    if isinstance(error, EOFError):
        return "it ends too early"
    kind, text = type(error).__name__, str(error).strip()
    if kind == "error":  # of zlib and struct
        return text
    return f"{kind}: {text}" if text else kind

"""Why an artifact can't be read, in words: what the file is instead (`naming`), or where reading it ended.

A library says `KeyError: 110` where a byte is not an instruction of a pickle, or nothing at all where a
file was cut short. The person who published it needs to know which file to look at, and what to do.
"""

import re
import traceback
from pathlib import PurePath

from tenantry_server.formats.checks import naming
from tenantry_server.formats.descriptor import Format

INTO_A_MODULE = (
    "a server can't import what a script or notebook defines; move it into a module that is installed "
    "where the servers run"
)
_OF_ONNX_RUNTIME = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_READERS = {
    *("pickle.py", "numpy_pickle.py", "numpy_pickle_utils.py", "compressor.py", "format_utils.py"),
    *("gzip.py", "bz2.py", "lzma.py", "_compression.py"),
}
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def words(data: bytes, chosen: Format, error: BaseException) -> str:
    """Return why the reader of a format ended with `error`."""
    other = naming.instead(data, chosen)
    if other is not None:
        return other
    said = f"{type(error).__name__}: {error}"
    if chosen.runs_pickles:
        missing = _missing(error)
        if missing is not None and "'__main__'" in missing:
            return f"it needs {missing}, the script or notebook that wrote it; {INTO_A_MODULE}"
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
    if isinstance(error, ImportError) and not _NAME.fullmatch(error.name or ""):
        return "where a pickle names a module, it has something else"
    if isinstance(error, IndexError):
        return "an instruction of a pickle lacks what it works on"
    kind, text = type(error).__name__, str(error).strip()
    if kind == "error":  # of zlib and struct
        return text
    if kind == "BadZipFile":
        return text
    said = _OF_ONNX_RUNTIME.sub("", text, count=1)
    if said != text:
        return f"ONNX Runtime says: {said}"
    return f"{kind}: {text}" if text else kind

"""Why an artifact can't be read, in words: what the file is instead, or where reading it ended.

A library says `KeyError: 110` where a byte is not an instruction of a pickle, or nothing at all where a
file was cut short. The person who published it needs to know which file to look at, and what to do.
"""

import re
import traceback
from pathlib import PurePath

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
        (rb"\x89HDF", "an HDF5 file, as older Keras writes; declare format: tensorflow, as .keras"),
        (
            rb"PK\x03\x04",
            "a zip archive, as skops (.skops), Keras (.keras) and PyTorch (.pt) write; declare that format",
        ),
        (
            rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19",
            "what an old torch.save wrote: weights, or a module without its code; write the model with "  # noqa: ISC004
            "torch.export.save or torch.jit.script(model).save",
        ),
        (rb"\x80[\x02-\x05]", "a pickle or joblib file; declare format: sklearn"),
    )
)
_OWN = {  # what begins so and is right
    "sklearn": rb"\x80",
    "skops": rb"PK",
    "tensorflow": rb"PK|\x89HDF",
    "torch": rb"PK",
    "mlflow": rb"PK",
}
_KIND = {
    "sklearn": "a joblib or pickle file",
    "skops": "a skops file",
    "onnx": "an ONNX model",
    "xgboost": "an XGBoost model",
    "lightgbm": "a LightGBM model",
    "python": "a description of a Python class",
    "tensorflow": "a TensorFlow or Keras model",
    "torch": "a PyTorch program",
    "mlflow": "an MLflow model folder",
}
_READERS = {
    *("pickle.py", "numpy_pickle.py", "numpy_pickle_utils.py", "compressor.py", "format_utils.py"),
    *("gzip.py", "bz2.py", "lzma.py", "_compression.py"),
}
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def instead(data: bytes, name: str) -> str | None:
    """Return what a file is that is of no use for the format `name`; None: unknown.

    Example:
        >>> instead(b"<html>Not found</html>", "sklearn")
        'it is an HTML page, perhaps the answer of a login or an error'
    """
    start = data[:100]
    if name in _OWN and re.match(_OWN[name], start):
        return None
    return next((f"it is {words}" for pattern, words in _ELSE if pattern.match(start)), None)


def words(data: bytes, name: str, error: BaseException) -> str:
    """Return why the loader of the format `name` ended with `error`."""
    other = instead(data, name)
    if other is not None:
        return other
    kind, said = _KIND.get(name, f"an artifact of the format {name}"), f"{type(error).__name__}: {error}"
    if name == "sklearn":
        missing = _missing(error)
        if missing is not None:
            return f"it needs {missing}, which can't be imported here ({said}); install it on the servers"
        if not _is_readers(error):
            return f"making the model of it fails with {said}"
    return f"it is not {kind}, or it is damaged: {_seen(error)}"


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

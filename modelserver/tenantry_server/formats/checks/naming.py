"""What a file is instead of a model of its format, by its beginning or the members of a zip archive."""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from functools import lru_cache

from tenantry_server.formats.checks import pickled_versions
from tenantry_server.formats.descriptor import Format
from tenantry_server.formats.known import FORMATS

_START_BYTES = 512
_READ_BYTES = 1 << 16  # of a compressed file, enough for its first `_START_BYTES`
_MOST_MEMBERS = 10_000
_R = (
    "a file of R (.rds, .RData), and a server runs Python; save the model as its library does, such as "
    "with xgb.save or lgb.save, or as ONNX"
)
# How other files begin that are found under the name of a model, and what each is.
_BEGINNINGS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file that it stands for; run git lfs pull"),
    (rb"\s*<(!doctype html|html)", "an HTML page, perhaps the answer of a login or an error"),
    (rb"\s*<\?xml", "an XML document, perhaps the error of a store"),
    (rb"\x89PNG", "a PNG picture"),
    (rb"%PDF", "a PDF document"),
    (rb"PAR1", "a Parquet file: data, not a model"),
    (rb"\x93NUMPY", "a NumPy array: data, not a model"),
    (rb"RD[AX]\d\n|X\n\x00\x00\x00[\x02\x03]|A\n[23]\n\d+\n", _R),
    (rb".{257}ustar", "a tar archive; publish the folder that it holds, or the file"),
    (rb"GGUF", "a GGUF file, of a language model"),
    (rb".{6}\x00\x00\{\"", "a safetensors file: weights without their program"),
)
_MEMBERS = (
    (
        r"(.*/)?metadata/part-\d+(\.txt)?",
        "a model of Spark ML, which needs Spark to predict; convert it to ONNX, or fit another library",
    ),
    (r"[^/]+\.npy", "a file of NumPy arrays: data, not a model"),
    (r"\[Content_Types\]\.xml", "an Office document"),
    (r"META-INF/MANIFEST\.MF", "a Java archive"),
)
_ARCHIVE = "a zip archive, as skops (.skops), Keras (.keras) and PyTorch (.pt) write; declare that format"
_Members = tuple[tuple[re.Pattern[str], str], ...]


@lru_cache(maxsize=1)
def _beginnings() -> tuple[tuple[re.Pattern[bytes], str, str], ...]:
    """Return how files begin, what each is, and the format that says so: the longest beginning first."""
    found = [(start, words, "") for start, words in _BEGINNINGS]
    found += [(start, words, known.name) for known in FORMATS for start, words in known.mistaken]
    found.sort(key=lambda each: -len(each[0]))
    flags = re.IGNORECASE | re.DOTALL
    return tuple((re.compile(start, flags), words, name) for start, words, name in found)


@lru_cache(maxsize=16)
def _members_of(name: str) -> _Members:
    """Return what marks the zip archives of a format; empty: of other files that are such archives."""
    found = _MEMBERS if not name else next(known.members for known in FORMATS if known.name == name)
    return tuple((re.compile(member), words) for member, words in found)


def instead(data: bytes, chosen: Format) -> str | None:
    """Return what a file is that is of no use for this format; None: unknown.

    Example:
        >>> instead(b"<html>Not found</html>", FORMATS[0])
        'it is an HTML page, perhaps the answer of a login or an error'
    """
    if not data:
        return "it is empty"
    start = pickled_versions.plain(data[:_READ_BYTES], _START_BYTES)[:_START_BYTES]
    is_own = bool(chosen.begins) and re.match(chosen.begins, start) is not None
    for pattern, words, name in _beginnings():
        if is_own and (name == chosen.name or len(pattern.pattern) <= len(chosen.begins)):
            continue  # what both begin with says nothing
        if pattern.match(start):
            return f"it is {words}"
    if not start.startswith(b"PK\x03\x04"):
        return None
    known = _archive(_names(data), chosen)
    return None if known is None and is_own else f"it is {known or _ARCHIVE}"


def _archive(names: Sequence[str], chosen: Format) -> str | None:
    """Return what a zip archive of these members is; None: it is one of the format itself, or unknown."""
    if any(_said(names, _members_of(chosen.name))):
        return None
    others = [_members_of(known.name) for known in FORMATS if known is not chosen]
    said = (words for members in (*others, _members_of("")) for words in _said(names, members))
    return next(said, None)


def _said(names: Sequence[str], members: _Members) -> Iterator[str]:
    for pattern, words in members:
        if any(map(pattern.fullmatch, names)):
            yield words


def _names(data: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.namelist()[:_MOST_MEMBERS]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return []

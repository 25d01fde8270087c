"""Which scikit-learn an artifact was made with: read from its bytes, of which nothing is executed.

Every estimator of scikit-learn writes `_sklearn_version` into its pickled state (in
`BaseEstimator.__getstate__`, read in 1.2 to 1.9), and skops writes the same into its schema. A load that
fails between versions often says no more than "No module named '_loss'"; one that works may answer
differently.
"""

import bz2
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenantry_server.scoring.golden import version_here

_LIBRARY = "scikit-learn"
_LONGEST = 40
_MOST_BYTES = 64 << 20  # of what is decompressed: 0.3 s at most
# The key as protocols 0 to 5 write it, its place in the memo, and the text that follows: its length in one
# byte or in four, or a line.
_PICKLED = re.compile(
    rb"_sklearn_version(?:\x94|q.|r.{4}|\np\d+\n)?(?:\x8c(?P<short>.)|X(?P<long>.{4})|V(?P<line>[^\n]*)\n)",
    re.DOTALL,
)
_VERSION = re.compile(rb"\d+\.\d+[\w.+]*")
_SKOPS = re.compile(rb'"_sklearn_version":\s*\{[^{}]*?"content":\s*"\\"([^"\\]+)\\""')
_DECOMPRESSORS: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x78", zlib.decompressobj),
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"BZ", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lzma.LZMADecompressor),
    (b"\x5d\x00", lzma.LZMADecompressor),
)


@dataclass(frozen=True, slots=True)
class Skew:
    """An artifact of another version of scikit-learn than the one that is installed here.

    Attributes:
        trained: the version that wrote it.
        served: the version that reads it.
    """

    trained: str
    served: str

    def __str__(self) -> str:
        """Describe both for a person.

        Example:
            >>> str(Skew("1.6.1", "1.9.1"))
            'trained with scikit-learn 1.6.1, served by 1.9.1'
        """
        return f"trained with {_LIBRARY} {self.trained}, {served_by(self.served)}"


def served_by(version: str) -> str:
    """Return how the words of a skew end on a server with this version."""
    return f"served by {version}"


def installed() -> str:
    """Return the version of scikit-learn that is installed here, without importing it; empty: none is."""
    return version_here(_LIBRARY)


def skew_of(data: bytes) -> Skew | None:
    """Return how an artifact differs from what is installed; None: not at all, or nobody knows.

    Versions that differ only in their third number read each other's files, as scikit-learn has it.
    """
    trained, served = trained_with(data), installed()
    if trained is None or not served or _line(trained) == _line(served):
        return None
    return Skew(trained, served)


def trained_with(data: bytes) -> str | None:
    """Return the version of scikit-learn that wrote an artifact; None: nothing in it says so.

    Example:
        >>> import pickle
        >>> from sklearn.linear_model import Ridge
        >>> trained_with(pickle.dumps(Ridge())) == installed()
        True
        >>> trained_with(b"anything else") is None
        True
    """
    if data.startswith(b"PK"):
        found = _SKOPS.search(_schema(data))
        text = b"" if found is None else found[1]
    else:
        text = _pickled(plain(data))
    return text.decode() if _VERSION.fullmatch(text) else None


def _pickled(data: bytes) -> bytes:
    found = _PICKLED.search(data)
    if found is None:
        return b""
    if found["line"] is not None:
        return found["line"]
    length = int.from_bytes(found["short"] or found["long"], "little")
    return data[found.end() : found.end() + length] if length <= _LONGEST else b""


def _line(version: str) -> list[str]:
    return version.split(".")[:2]


def plain(data: bytes, most_bytes: int = _MOST_BYTES) -> bytes:
    """Return what is in a compressed file, as joblib writes them; of a large one, its beginning."""
    for magic, decompressor in _DECOMPRESSORS:
        if data.startswith(magic):
            try:
                content: bytes = decompressor().decompress(data, most_bytes)
            except (zlib.error, OSError, lzma.LZMAError, EOFError):
                return data  # a pickle of protocol 0 may begin like this
            return content
    return data


def _schema(data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open("schema.json") as schema:
            return schema.read(_MOST_BYTES)
    except (zipfile.BadZipFile, KeyError, OSError, zlib.error, NotImplementedError):
        return b""

"""The formats that are here: every folder beside this module that has a `reader` is one.

So a format is added by adding its folder. Where its name or suffixes have to stand outside of this package
too, `make formats` writes them there.
"""

import importlib
import posixpath
import sys
from pathlib import Path

from tenantry import ModelId
from tenantry.errors import UnknownFormat
from tenantry_server.formats.checks.pickled_versions import Skew
from tenantry_server.formats.descriptor import Format


def _found() -> tuple[Format, ...]:
    """Return the descriptors of all folders here, in the order of their ranks and names."""
    package = sys.modules[__name__.rpartition(".")[0]]
    names = [file.parent.name for folder in package.__path__ for file in Path(folder).glob("*/reader.py")]
    found: list[Format] = [importlib.import_module(f"{package.__name__}.{name}").FORMAT for name in names]
    return tuple(sorted(found, key=lambda each: (each.rank, each.name)))


FORMATS: tuple[Format, ...] = _found()


def format_of(model_id: ModelId) -> Format:
    """Return the format that an id names, or that its suffix stands for.

    Raises:
        UnknownFormat: no format has this name.
    """
    suffix = posixpath.splitext(model_id.uri)[1].lower()
    for known in FORMATS:
        if known.name == model_id.format or (model_id.format is None and suffix in known.suffixes):
            return known
    seen = f"format {model_id.format!r}" if model_id.format else f"suffix {suffix or '(none)'!r}"
    names = ", ".join(f"{known.name} ({' '.join(known.suffixes)})" for known in FORMATS)
    raise UnknownFormat(model_id.uri, seen, names)


def skew_of(name: str, data: bytes) -> Skew | None:
    """Return how the library that wrote an artifact of the format `name` differs from the one here.

    None: it does not, or nothing in the artifact says so.
    """
    for known in FORMATS:
        if known.name == name and "skew" in known.offers:
            skew: Skew | None = known.reader.skew(data)
            return skew
    return None


def folder_suffix(folder: Path) -> str:
    """Return the suffix that the zip archive of a model's folder is published under."""
    for known in FORMATS:
        if known.folder_file and (folder / known.folder_file).is_file():
            return known.suffixes[0]
    return ".zip"

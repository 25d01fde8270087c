"""`publish` and `publish_many`, the last line of a training job: `pip install tenantry` is enough for them.

Another name of `tenantry_server.publishing`, where they are described; importing it imports none of the
libraries that read models, tables or settings.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenantry_server.publishing import (
        Report,
        Signer,
        manifest_path,
        object_name,
        publish,
        publish_many,
        read_example,
        to_yaml,
        write_manifest,
    )

__all__ = [
    "Report",
    "Signer",
    "manifest_path",
    "object_name",
    "publish",
    "publish_many",
    "read_example",
    "to_yaml",
    "write_manifest",
]


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tenantry_server.publishing"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Publishing: what a training job calls last, an artifact under a name that never repeats and its manifest.

Owns the order (the artifact first, the manifest last), the names, and the text of a manifest. Refuses to
know a running server or the registry. Its other name is `tenantry.publishing`.

Importing it costs next to nothing, as a scheduler reads its pipelines every few seconds: what reads tables
and writes manifests is imported when it is first used.
"""

from typing import TYPE_CHECKING

from tenantry.lazy_names import lazily
from tenantry_server.publishing.many import Report, publish_many
from tenantry_server.publishing.one import publish

if TYPE_CHECKING:
    from tenantry_server.publishing.example_files import read_example
    from tenantry_server.publishing.manifests import manifest_path, object_name, to_yaml, write_manifest
    from tenantry_server.signing.making import Signer

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

_HOMES = {
    "Signer": "tenantry_server.signing.making",
    "manifest_path": "tenantry_server.publishing.manifests",
    "object_name": "tenantry_server.publishing.manifests",
    "read_example": "tenantry_server.publishing.example_files",
    "to_yaml": "tenantry_server.publishing.manifests",
    "write_manifest": "tenantry_server.publishing.manifests",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

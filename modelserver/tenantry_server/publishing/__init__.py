"""Publishing: what a training job calls last, an artifact under a name that never repeats and its manifest.

Owns the order (the artifact first, the manifest last), the names, and the text of a manifest. Refuses to
know a running server or the registry.
"""

from tenantry_server.publishing.example_files import read_example
from tenantry_server.publishing.manifests import manifest_path, object_name, to_yaml, write_manifest
from tenantry_server.publishing.many import Report, publish_many
from tenantry_server.publishing.publisher import publish

__all__ = [
    "Report",
    "manifest_path",
    "object_name",
    "publish",
    "publish_many",
    "read_example",
    "to_yaml",
    "write_manifest",
]

"""`publish` and `publish_many`, the last line of a training job: `pip install tenantry` is enough for them.

Another name of `tenantry_server.publishing`, where they are described; importing it imports none of the
libraries that read models, tables or settings.
"""

from typing import TYPE_CHECKING

from tenantry.lazy_names import lazily

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

__getattr__ = lazily(__name__, dict.fromkeys(__all__, "tenantry_server.publishing"))

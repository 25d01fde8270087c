"""The libraries of the other formats: imported when the first artifact needs one, never before."""

import importlib
from typing import Any

from tenantry import ModelId
from tenantry.errors import FormatNotInstalled


def library(name: str, *, extra: str, model_id: ModelId) -> Any:
    """Import a library, or say what to install.

    Args:
        name: of the module, such as ``onnxruntime``.
        extra: of our own distribution, which brings it.

    Raises:
        FormatNotInstalled: it, or something that it needs, is missing.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library that it loads is missing
        raise FormatNotInstalled(model_id.uri, name, extra, str(error)) from error

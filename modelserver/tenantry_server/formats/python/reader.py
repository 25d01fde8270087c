"""A Model subclass of an installed package, named in a small TOML file.

The file holds no code, only an import path and keyword arguments; the named class must be importable
where the servers run:

    class = "acme.pricing:Margin"

    [parameters]
    margin = 0.2
"""

import importlib
import inspect
import tomllib
from typing import Any

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid

_KEYS = {"class", "parameters"}


def load(data: bytes, model_id: ModelId) -> Model:
    """Make an instance of the class that the file names.

    Raises:
        ArtifactInvalid: the file is not of this form; the class can't be imported, is not a Model, or
            refuses the parameters.
    """
    try:
        return _made(data, model_id.method or "predict")
    except _Unusable as error:
        raise ArtifactInvalid(model_id.uri, str(error)) from error


class _Unusable(Exception):
    """In words."""


def _made(data: bytes, method: str) -> Model:
    path, parameters = _read(data)
    kind = _model_class(path)
    if method != "predict":
        raise _Unusable(f"a Model has no method {method}; correct spec.model.method")
    try:
        return kind(**parameters)
    except Exception as error:
        given = ", ".join(parameters) or "none"
        problem = f"{path} refused its parameters ({given}): {type(error).__name__}: {error}"
        raise _Unusable(problem) from error


def _read(data: bytes) -> tuple[str, dict[str, Any]]:
    """Read the import path and the parameters."""
    try:
        document = tomllib.loads(data.decode())
    except ValueError as error:
        raise _Unusable(f"it is not TOML: {error}") from error
    unknown = sorted(document.keys() - _KEYS)
    if unknown:
        raise _Unusable(f"it has {', '.join(unknown)}; only class and [parameters] are allowed")
    path, parameters = document.get("class"), document.get("parameters", {})
    if not isinstance(path, str) or path.count(":") != 1 or not all(path.split(":")):
        raise _Unusable(f'class must be "package.module:Name", got {path!r}')
    if not isinstance(parameters, dict):
        raise _Unusable(f"parameters must be a table, got {parameters!r}")
    return path, parameters


def _model_class(path: str) -> type[Model]:
    module_name, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise _Unusable(
            f"{module_name} can't be imported ({type(error).__name__}: {error}); "
            "install its package where the servers run"
        ) from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise _Unusable(f"{module_name} has no {name}")
    if not isinstance(found, type) or not issubclass(found, Model):
        raise _Unusable(f"{path} is not a subclass of tenantry.Model")
    if inspect.isabstract(found):
        raise _Unusable(f"{path} is abstract: it has no predict method of its own")
    return found

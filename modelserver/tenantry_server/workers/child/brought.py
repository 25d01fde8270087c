"""What models need beside the known libraries, by what their loads import: who may share a worker."""

import sys
from collections.abc import Iterable

from tenantry import Model, ModelId
from tenantry_server.formats import FORMATS, format_of

# Packages that known models bring; whatever else is imported is a tenant's own code.
_KNOWN = frozenset(
    {
        "cython_runtime", "importlib_metadata", "importlib_resources", "narwhals", "numexpr", "packaging",
        "pyarrow", "six", "tenantry", "tenantry_server", "typing_extensions",
    }
).union(*(known.brings.union(known.libraries) for known in FORMATS))  # fmt: skip


class Brought:
    """The packages that models have brought to this process since this was made."""

    def __init__(self) -> None:
        self._seen = set(sys.modules)
        self._latest = _latest_module()
        self._imported = _packages(self._seen)
        self._own: set[str] = set()

    def group_of(self, exact: ModelId, model: Model) -> str:
        """Return what a model needs, once it is loaded; models that need the same may share a worker.

        Returns:
            a name of that; empty: it needs nothing but the known libraries.
        """
        known = format_of(exact)
        if known.heavy:
            return known.name
        latest = _latest_module()
        if latest != self._latest:  # seldom: to look at thousands of names costs a tenth of a load
            self._latest = latest
            new = sys.modules.keys() - self._seen
            self._seen |= new
            self._own |= _packages(new) - self._imported - _KNOWN - sys.stdlib_module_names
        # Modules that an artifact brings itself may have the names of another one's.
        packages = " ".join(filter(None, (*sorted(self._own), getattr(model, "own_code", ""))))
        return f"{packages} of {exact.namespace or 'default'}" if packages else ""


def _latest_module() -> tuple[int, str]:
    """Return how many modules there are, and which was imported last."""
    return len(sys.modules), next(reversed(sys.modules))


def _packages(modules: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}

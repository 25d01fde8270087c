"""Tries a model as a server would, before anything is stored.

Runs in this process, so that a job that publishes a hundred models waits for none of them. A server has not
run the script or notebook that trained the model, so its ``__main__`` is out of reach here too.
"""

import pickle
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid, FormatNotInstalled
from tenantry_server import formats
from tenantry_server.formats import dump_model, load_model
from tenantry_server.formats.checks.unreadable import INTO_A_MODULE
from tenantry_server.publishing.batch.alike import Alike

_alone = threading.Lock()


def dumped(model: Any, what: str) -> tuple[bytes, str]:
    """Return the artifact of an object and its suffix.

    Raises:
        ArtifactInvalid: it can't be pickled.
    """
    try:
        with _alone:  # pickle looks into ``__main__``, which another thread may have replaced
            return dump_model(model)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        hint = f"; {INTO_A_MODULE}" if "<lambda>" in str(error) or "<locals>" in str(error) else ""
        raise ArtifactInvalid(what, f"it can't be pickled: {error}{hint}; nothing was published") from error


def try_model(
    data: bytes, model_id: ModelId, what: str, model: Any = None, alike: Alike | None = None
) -> None:
    """Load a model as a server would, and let it predict the trial row.

    Where the library of its format is missing here, warn that it was not tried.

    Args:
        what: the model, for messages.
        model: the object that was dumped; None: the artifact was a file.
        alike: the `Alike` of a batch, whose models need no trial where one of the same structure had its
            own; None: it is tried in any case.

    Raises:
        ArtifactInvalid: a server would refuse it.
    """
    key = None
    if alike is not None:
        with _without_main():
            key = alike.key(model, data, model_id)
        if alike.was_tried(key):
            return
    try:
        with _as_a_server(what):
            # A kernel is used only where it is proven equal, so the original shows all that can be wrong.
            load_model(data, replace(model_id, compile="off"))
    except FormatNotInstalled as error:
        warnings.warn(f"{what} was not tried before it was published: {error.problem}", stacklevel=3)
    if alike is not None:
        alike.add(key)


def example_in(data: bytes, model_id: ModelId, what: str) -> Any:
    """Return rows of what a model was fitted with where its artifact holds some; None: it does not.

    Raises:
        ArtifactInvalid: a server would refuse the model.
    """
    with _as_a_server(what):
        return formats.example_in(data, model_id)


def described(data: bytes, model_id: ModelId, what: str, example: Any, model: Any) -> bytes:
    """Return the card of a model, which answers the example here as a server would.

    Raises:
        ArtifactInvalid: a server would refuse the model.
        NotPublished: a server would not answer the example as the model does.
    """
    from tenantry_server.describing.card_of import card_of  # noqa: PLC0415 - it imports scikit-learn

    with _as_a_server(what):
        return card_of(data, model_id, example, model=model).to_json()


@contextmanager
def _as_a_server(what: str) -> Iterator[None]:
    """Read models as a server would, and say why one would be refused."""
    try:
        with _without_main():
            yield
    except FormatNotInstalled:
        raise
    except ArtifactInvalid as error:
        problem = error.problem
        if "__main__" in problem and INTO_A_MODULE not in problem:
            problem = f"{problem}: {INTO_A_MODULE}"
        problem = f"{problem}; nothing was published (check=False, --no-check: store it untried)"
        raise ArtifactInvalid(what, problem) from error


@contextmanager
def _without_main() -> Iterator[None]:
    """Put an empty module in the place of ``__main__``, for as long as a model is read."""
    with _alone:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main

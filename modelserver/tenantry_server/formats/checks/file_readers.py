"""Refuses estimators whose requests would name files: text vectorizers with `input="filename"`.

Such a model needs no code of its own: a skops file that holds nothing but trusted types reads any file that
its worker may, as often as it is asked. The sandbox holds that where the kernel can;
this check holds it everywhere.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid

_VECTORIZERS = (CountVectorizer, HashingVectorizer)  # and TfidfVectorizer, which is a CountVectorizer
_PLAIN = (str, bytes, int, float, complex, type(None), type)


def refuse(loaded: Any, model_id: ModelId) -> None:
    """Look through everything that an artifact holds, however deep.

    Raises:
        ArtifactInvalid: a part of it takes names of files, or files, in place of texts.
    """
    for part in _parts(loaded):
        given = getattr(part, "input", "content") if isinstance(part, _VECTORIZERS) else "content"
        if given != "content":
            raise ArtifactInvalid(
                model_id.uri,
                f"its {type(part).__name__} has input={given!r}, so requests would name files of this "
                'server for it to read; fit it with input="content", and let requests hold the texts',
            )


def _parts(whole: Any) -> Iterator[Any]:
    """Yield the object and all that it refers to, each once."""
    seen: dict[int, Any] = {}  # holds on to each, so that no id is given to another
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _PLAIN) or id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        waiting.extend(_inner(part))


def _inner(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return [*part.keys(), *part.values()]
    if isinstance(part, list | tuple | set | frozenset):
        return list(part)
    if isinstance(part, np.ndarray):
        return part.ravel().tolist() if part.dtype == object else []
    return list(getattr(part, "__dict__", {}).values())

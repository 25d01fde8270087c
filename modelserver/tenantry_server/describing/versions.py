"""What a card says of where a model was trained: versions of libraries, and how small answers round."""

import sys
from typing import Any

import numpy as np

from tenantry_server.formats import FORMATS, adapters
from tenantry_server.scoring import golden


def _libraries() -> dict[str, str]:
    """Return the modules of libraries that fit models, and their distributions."""
    of_formats = {module: name for known in FORMATS for module, name in known.libraries.items()}
    return of_formats | {name: name for name in adapters.LIBRARIES if name not in of_formats}


def versions_here() -> dict[str, str]:
    """Return the versions of Python and of the libraries that are imported here."""
    libraries = [name for module, name in _libraries().items() if module in sys.modules]
    found = {name: golden.version_here(name) for name in ("python", *libraries)}
    return {name: version for name, version in found.items() if version}


def absolute_of(answers: list[Any]) -> float:
    """Return how much answers near zero may differ: a billionth of the largest one."""
    numbers = np.abs(np.asarray(_numbers(answers), dtype=np.float64))
    finite = numbers[np.isfinite(numbers)]
    return float(finite.max()) * 1e-9 if len(finite) else 0.0


def _numbers(answer: Any) -> list[float]:
    if isinstance(answer, list):
        return [number for each in answer for number in _numbers(each)]
    if isinstance(answer, dict):
        return _numbers(list(answer.values()))
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return [float(answer)]
    return []

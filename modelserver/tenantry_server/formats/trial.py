"""A first prediction, so that a model that can't predict is refused when it is loaded."""

from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid


def try_once(model: Model, method: str, model_id: ModelId) -> None:
    """Predict one row of zeros, to find what only shows in use, such as a pickle of another version.

    Args:
        method: the name of the method, for messages.

    Raises:
        ArtifactInvalid: it fails, or does not answer row by row.
    """
    if model.feature_count is not None and not model.numeric:
        return
    try:
        answer: Any = model.predict_rows(np.zeros((1, model.feature_count or 1)))
    except NotFittedError as error:
        raise ArtifactInvalid(model_id.uri, f"{error}") from error
    except ValueError:
        return  # zeros may lie outside what it takes, which is not a fault of the artifact
    except Exception as error:
        if model.feature_count is None:
            return  # nor is one column, where its number of columns is unknown
        raise ArtifactInvalid(
            model_id.uri, f"{method} fails with {type(error).__name__}: {error}"
        ) from error
    if answer.ndim == 0 or len(answer) != 1:
        raise ArtifactInvalid(
            model_id.uri, f"{method} gives shape {answer.shape} for one row; it must begin with 1"
        )

"""From the bytes of an artifact to a Model: one folder for each format, and what holds for all of them.

Deserialising a pickle or a joblib file runs code that its author chose. Load artifacts only from
stores whose writers you trust as you trust your own code; a sha256 pin proves which bytes they are.
"""

import contextlib
import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tenantry import Model, ModelId
from tenantry.errors import (
    AnswersDiffer,
    ArtifactInvalid,
    CardUnusable,
    FormatNotInstalled,
    TenantryError,
    UnknownFormat,
)
from tenantry_server.cards.card import Card, CardInvalid
from tenantry_server.formats.checks import naming, unreadable
from tenantry_server.formats.checks.pickled_versions import Skew
from tenantry_server.formats.descriptor import Format
from tenantry_server.formats.known import FORMATS, format_of, skew_of
from tenantry_server.kernels.base import Compiled
from tenantry_server.rows.payload import Payload
from tenantry_server.scoring import golden
from tenantry_server.scoring.calls import score
from tenantry_server.scoring.several import Several

_PLAIN_BYTES = 1 << 20

__all__ = [
    "FORMATS",
    "Format",
    "dump_model",
    "example_in",
    "format_of",
    "load_model",
    "loaded",
    "skew_in",
]


def load_model(
    data: bytes, model_id: ModelId, card: bytes | None = None, *, was_tried: bool = False
) -> Model:
    """Make a model of an artifact whose digest was already checked.

    Args:
        card: the model's card, its digest checked too; None: it has none.
        was_tried: whether these bytes have answered the card's rows before.

    Raises:
        UnknownFormat: no loader for its format or suffix.
        ArtifactInvalid: the loader can't read it, or it can't predict.
        CardUnusable: the card can't be read, or does not fit the model.
        AnswersDiffer: it answers the card's rows otherwise than where it was trained.
    """
    try:
        read = None if card is None else Card.read(card)
    except CardInvalid as error:
        raise CardUnusable(str(model_id.card_id and model_id.card_id.uri), str(error)) from None
    model = loaded(data, model_id, read)
    if read is None or was_tried or not read.has_example:
        return model
    try:
        _try_rows(model, model_id, read)
    except TenantryError:
        if not isinstance(model, Compiled):
            raise
        model = loaded(data, replace(model_id, compile="off"), read)
        _try_rows(model, model_id, read)
    return model


def loaded(data: bytes, model_id: ModelId, card: Card | None) -> Model:
    """Make a model as `load_model` does, without asking it the rows of its card.

    Raises:
        ArtifactInvalid: as `load_model`, and UnknownFormat.
    """
    chosen = format_of(model_id)
    try:
        model = _of_format(chosen, data, model_id, card)
    except FormatNotInstalled as error:
        other = naming.instead(data, chosen)
        if other is None:
            raise
        raise ArtifactInvalid(model_id.uri, other) from error
    except (KeyboardInterrupt, UnknownFormat):
        raise
    except BaseException as error:  # a pickle runs code, and sys.exit() in it must not end the server
        skew = skew_in(data, model_id)
        if isinstance(error, ArtifactInvalid):
            other = naming.instead(data, chosen)
            if other is not None:
                raise ArtifactInvalid(model_id.uri, other) from error
            error.args = (str(error) if skew is None else f"{error}; {skew}",)
            raise
        problem = unreadable.words(data, chosen, error)
        if skew is not None:  # the cause first: "No module named '_loss'" is hardly a hint
            problem = f"{skew} ({type(error).__name__}: {error})"
        raise ArtifactInvalid(model_id.uri, problem) from error
    if card is not None and card.forecast is None and not model.numeric and model.column_types is None:
        _type(model, card)
    if model_id.extra_columns == "ignore":
        _ignore_extra(model, model_id)
    return model


def _of_format(chosen: Format, data: bytes, model_id: ModelId, card: Card | None) -> Model:
    load: Callable[..., Model] = chosen.reader.load
    more = (card,) if chosen.reads_cards else ()
    if len(model_id.methods) == 1 or chosen.answers_several:
        return load(data, model_id, *more)
    ids = {method: replace(model_id, method=method) for method in model_id.methods}
    return Several({method: load(data, exact, *more) for method, exact in ids.items()})


def _ignore_extra(model: Any, model_id: ModelId) -> None:
    """Let a model leave out columns that it does not take, of which only names can tell."""
    if model.feature_names is None and model.feature_count is not None:
        problem = "extraColumns: ignore needs the names of the columns, and the model has none"
        raise ArtifactInvalid(model_id.uri, f"{problem}; train it on a DataFrame, or remove extraColumns")
    with contextlib.suppress(AttributeError):  # of slots: a class of one's own that takes any columns
        model.ignores_extra = True


def _type(model: Any, card: Card) -> None:
    """Let a Model of one's own read rows by the card; where it states other columns itself, that stays."""
    with contextlib.suppress(AttributeError):
        if model.feature_names is None:
            model.feature_names = card.names
        if model.feature_names is None or tuple(model.feature_names) == card.names:
            model.column_types = card.columns


def _try_rows(model: Model, model_id: ModelId, card: Card) -> None:
    def asked(payload: Payload) -> Any:
        return score(model, payload)

    try:
        if card.method == (model_id.method or "predict"):
            golden.compare(card, golden.answers_of(asked, card.payload()), model_id.uri)
        else:  # another method was declared since: it must answer at least
            golden.answers_of(asked, card.payload())
    except AnswersDiffer:
        raise
    except TenantryError as error:
        raise ArtifactInvalid(model_id.uri, f"it fails on the example rows of its card: {error}") from error


def skew_in(data: bytes, model_id: ModelId) -> Skew | None:
    """Return how the library that wrote an artifact differs from the one here; None: it does not."""
    return skew_of(format_of(model_id).name, data)


def example_in(data: bytes, model_id: ModelId) -> Any:
    """Return rows of what a model was fitted with where its artifact holds some; None: it does not.

    Raises:
        ArtifactInvalid: they can't be read.
    """
    chosen = format_of(model_id)
    return chosen.reader.example(data, model_id) if "example" in chosen.offers else None


def dump_model(model: Any) -> tuple[bytes, str]:
    """Return the artifact of an object and its suffix: in its library's format, or else as joblib reads it.

    joblib reads plain pickles too, and Python's own pickler takes a tenth of the time of joblib's, which is
    for large arrays, and for arrays that lie in a file.
    """
    for known in FORMATS:
        dumped: tuple[bytes, str] | None = known.reader.dump(model) if "dump" in known.offers else None
        if dumped is not None:
            return dumped
    data = pickle.dumps(model)
    if len(data) <= _PLAIN_BYTES and b"memmap" not in data:
        return data, ".joblib"
    import joblib  # noqa: PLC0415 - a server's own process reads no artifact

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue(), ".joblib"

"""The card of a model, read from its store; apart, as no prediction needs it."""

from tenantry import ModelId
from tenantry.errors import CardUnusable
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.cards.card import Card, CardInvalid


def stored_card(models: ModelRepository, model_id: str) -> Card | None:
    """Read the card of a model; None: it has none.

    Raises:
        ArtifactError: the card can't be read.
    """
    card_id = ModelId.parse(model_id).card_id
    data = None if card_id is None else models.get_card(model_id)
    if card_id is None or data is None:
        return None
    try:
        return Card.read(data)
    except CardInvalid as error:
        raise CardUnusable(card_id.uri, str(error)) from None

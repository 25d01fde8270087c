"""Stores models of another library version again, as the libraries at hand serialise them.

For `tenantry doctor --fix`. Owns which models that is sound for: those that answer the example rows of
their card here as they did where they were trained. The new artifact and its card lie beside the old ones,
under a name made of their digest, so nothing is overwritten and a second run finds what the first one
stored. Refuses to touch manifests or the registry: the caller declares what was stored.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tenantry import Model, ModelId, TenantryError
from tenantry.errors import ArtifactInvalid, ArtifactNotFound
from tenantry.model_id import CARD_SUFFIX, DEFAULT_METHOD
from tenantry_server.cards.card import Card
from tenantry_server.publishing.stores import Place
from tenantry_server.scoring.calls import contained
from tenantry_server.scoring.golden import version_here
from tenantry_server.settings import ServerSettings
from tenantry_server.supply import checker_of, models_of
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool

_LIBRARY = "scikit-learn"
_NAMED_BEFORE = re.compile(rf"-{_LIBRARY}-[\w.+]+-[0-9a-f]{{12}}$")


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of one model that another version of its library wrote.

    Attributes:
        source: ``uri``, ``sha256`` and ``card`` of ``spec.model`` for the new artifact; None: it was not
            stored again.
        problem: why not, in words; empty: it was.
        is_new: whether this run stored it; False: an earlier one did.
    """

    source: Mapping[str, Any] | None
    problem: str = ""
    is_new: bool = False


class Mending:
    """Writes artifacts again in workers, tries what they wrote, and stores it.

    Args:
        settings: of the server that would serve them.
        workers: started ones, where tenants' code runs.
    """

    def __init__(self, settings: ServerSettings, workers: Pool) -> None:
        timeout_s = settings.load_timeout_s
        self._endpoint_url = settings.s3_endpoint_url
        self._reading = WorkerLoads(workers, timeout_s=timeout_s)
        self._trying = WorkerLoads(workers, timeout_s=timeout_s, refuse_skew=True)
        self._models = models_of(settings, None, self._made, checker_of(settings, workers))
        self._done: dict[str, Mended] = {}

    async def mend(self, threads: ThreadPoolExecutor, model_id: str, limit_s: float) -> Mended:
        """Store one model again, or say why that would not be sound."""
        if ModelId.parse(model_id).card is None:
            return Mended(None, "it has no card, so nothing says what it has to answer")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit_s):
                await loop.run_in_executor(threads, contained, lambda: self._models.get_resident(model_id))
        except TimeoutError:
            return Mended(None, f"writing it again took longer than {limit_s:g} s")
        except TenantryError as error:
            return Mended(None, str(error))
        except Exception as error:
            # A store or a card that nobody could read before may raise anything: the others are mended.
            return Mended(None, f"{type(error).__name__}: {error}")
        self._models.discard(model_id)
        return self._done.pop(model_id)

    def _made(self, data: bytes, exact: ModelId, card: bytes | None = None) -> Model:
        """Store an artifact again and return its model: what a repository calls with checked bytes.

        Raises:
            TenantryError: it does not load, answers otherwise than its card, or can't be stored.
        """
        if card is None:
            raise ArtifactInvalid(exact.uri, "it has no card")
        known = Card.read(card)
        if not known.has_example or known.method != (exact.method or DEFAULT_METHOD):
            problem = f"its card has no answers of the method {exact.method or DEFAULT_METHOD}"
            raise ArtifactInvalid(exact.uri, problem)
        written = self._reading.rewritten(data, exact, card)
        new_card = replace(known, versions=_versions(known)).to_json()
        place = _beside(exact, hashlib.sha256(written + new_card).hexdigest())
        beside = place.beside(CARD_SUFFIX)
        digests = {
            name: hashlib.sha256(of).hexdigest() for name, of in (("it", written), ("card", new_card))
        }
        new = replace(
            exact,
            uri=place.uri,
            version_id=None,
            etag=None,
            sha256=digests["it"],
            format=None,
            card=digests["card"],
            card_uri=None,
        )
        model = self._trying.load(written, new, new_card)
        is_new = not self._is_stored(new)
        if is_new:
            place.store(written, s3_endpoint_url=self._endpoint_url)
            beside.store(new_card, s3_endpoint_url=self._endpoint_url)  # last: it says that both are there
        source = {
            "uri": place.uri,
            "sha256": new.sha256,
            "card": {"uri": beside.uri, "sha256": new.card},
        }
        self._done[str(exact)] = Mended(source, is_new=is_new)
        return model

    def _is_stored(self, new: ModelId) -> bool:
        """Return whether an earlier run stored exactly this.

        Raises:
            ArtifactError: other bytes lie under its name, which are left there.
        """
        try:
            return self._models.get_card(str(new)) is not None
        except ArtifactNotFound:
            return False


def _versions(card: Card) -> dict[str, str]:
    """Return the versions of a card as they are here, without libraries that are not here."""
    here = {name: version_here(name) for name in card.versions}
    return {name: version for name, version in here.items() if version}


def _beside(exact: ModelId, digest: str) -> Place:
    """Return the name of the new artifact: in the folder of the old one, by the version and the digest.

    Example:
        >>> _beside(ModelId("s3://models/ann/20261120-9f86d081.pkl"), "e3b0c44298fc1c14").uri
        's3://models/ann/20261120-9f86d081-scikit-learn-...-e3b0c44298fc.joblib'
    """
    folder, _, name = exact.uri.rpartition("/")
    stem = _NAMED_BEFORE.sub("", name.rpartition(".")[0] or name)
    uri = f"{folder}/{stem}-{_LIBRARY}-{version_here(_LIBRARY)}-{digest[:12]}.joblib"
    path = Path(unquote(uri.removeprefix("file://"))) if exact.scheme == "file" else None
    return Place(uri, path)

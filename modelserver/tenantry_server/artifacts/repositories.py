"""From a model id to a model: the interface, and folders."""

import hashlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from tenantry import Model, ModelId, TenantryError
from tenantry.errors import (
    ArtifactDigestMismatch,
    ArtifactInvalid,
    ArtifactNotFound,
    ArtifactOutsideRoots,
    ArtifactTooLarge,
    CardUnusable,
    SignatureInvalid,
    SignatureMissing,
    SignatureUnverifiable,
    VersionSkew,
)
from tenantry.stores.file_roots import ANYWHERE, FileRoots
from tenantry_server.artifacts import headroom, together
from tenantry_server.artifacts.headroom import Headroom
from tenantry_server.artifacts.together import Artifact, LoaderOfMany

MAX_ARTIFACT_BYTES = 1 << 30
MAX_CARD_BYTES = 4 << 20
_MOST_SIGNATURE_BYTES = 4 << 20


class ModelRepository(ABC):
    """Knows how to get a model by its id. Methods may block; the server calls them in threads.

    Example:
        >>> import pandas as pd
        >>> from tenantry_server.toys import SumModel
        >>> class Toys(ModelRepository):
        ...     def get_model(self, model_id):
        ...         return SumModel(plus=float(model_id))
        >>> Toys().get_model("10").predict(pd.DataFrame({"a": [1.0]}))
        array([11.])
    """

    @abstractmethod
    def get_model(self, model_id: str) -> Model:
        """Read, check and load a model.

        Args:
            model_id: as `ModelId` writes it.

        Raises:
            ArtifactError: one of its kinds says what is wrong with the bytes, or where they are not.
        """

    def get_models(self, model_ids: Sequence[str]) -> Sequence[Model | None]:
        """Read, check and load several small models for a fraction of what each takes alone.

        Returns:
            None for each that has to be loaded by `get_model`, which says what is wrong with it.
        """
        return [None] * len(model_ids)

    def get_card(self, model_id: str) -> bytes | None:  # noqa: ARG002 - most repositories have none
        """Return the card of a model, its digest checked; None: it has none.

        Raises:
            ArtifactError: it is not there, or is another one.
        """
        return None


Loader = Callable[[bytes, ModelId, bytes | None], Model]
"""Makes a model of an artifact and its card, if any, whose digests were checked; raises ArtifactInvalid,
and what it knows of."""


Checker = Callable[[bytes, ModelId, bytes], None]
"""Verifies the signature of an artifact; raises SignatureRefused."""


def load_here(
    data: bytes, model_id: ModelId, card: bytes | None = None, *, refuse_skew: bool = False
) -> Model:
    """Load an artifact in this process.

    Args:
        refuse_skew: refuse one that another version of its library wrote.

    Raises:
        VersionSkew: that is so.
        ArtifactInvalid: it can't be read, or it can't predict.
        CardUnusable, AnswersDiffer: it is not the model that its card describes.
    """
    from tenantry_server.formats import load_model, skew_in  # noqa: PLC0415 - a server loads in its workers

    skew = skew_in(data, model_id) if refuse_skew else None
    if skew is not None:
        raise VersionSkew(model_id.uri, str(skew))
    return load_model(data, model_id, card)


class ArtifactRepository(ModelRepository):
    """A store of artifacts: a kind of it says only how their bytes are read.

    Attributes:
        loader: makes models of the bytes; another one may be set before the first use.
        loader_of_many: the same for several small ones; None: they are loaded one by one.
        headroom: admits loads by the memory that they take; None: every load.
        reading: held while an artifact is read, such as a semaphore.
        checker: verifies signatures where they are required; None: such a model is refused.
        signed_only: whether every model has to be signed, also where its id does not say so.
    """

    loader: Loader = staticmethod(load_here)
    loader_of_many: LoaderOfMany | None = None
    headroom: Headroom | None = None
    reading: AbstractContextManager[Any] = nullcontext()
    checker: Checker | None = None
    signed_only = False

    def get_model(self, model_id: str) -> Model:
        """Read the pinned bytes whole, check their digest and signature where they have one, then load."""
        exact = ModelId.parse(model_id)
        with nullcontext() if self.headroom is None else self.headroom.load(exact):
            needs_signature = self.signed_only or exact.signatures is not None
            signature = self.get_signature(exact) if needs_signature else None
            card = self.get_card(model_id)
            # No name holds the bytes here: the loader gives them up before it is done.
            return self.loader(self._checked(exact, signature), exact, card)

    def get_models(self, model_ids: Sequence[str]) -> Sequence[Model | None]:
        """Read small artifacts one after another, and load them together."""
        if self.loader_of_many is None:
            return super().get_models(model_ids)
        ends_s = time.monotonic() + together.READING_S
        read = [self._small(each) if time.monotonic() < ends_s else None for each in model_ids]
        made = iter(self.loader_of_many([each for each in read if each is not None]))
        return [None if each is None else next(made) for each in read]

    def _small(self, model_id: str) -> Artifact | None:
        """Return an artifact that may be loaded with others; None: it is read again, and loaded alone."""
        exact = ModelId.parse(model_id)
        if self.signed_only or exact.signatures is not None:
            return None
        if self.headroom is not None and not self.headroom.is_small(exact):
            return None
        try:
            with headroom.at_most(together.MOST_BYTES):
                card = None if exact.card_id is None else self.get_card(model_id)
                return Artifact(exact, self._whole(exact), None if card is None else card.decode())
        except (TenantryError, UnicodeDecodeError, headroom.NotSmall):
            return None

    def get_card(self, model_id: str) -> bytes | None:
        """Read the card that lies in the same store as the artifact.

        Raises:
            CardUnusable: it lies in another store, or is too large.
        """
        exact = ModelId.parse(model_id)
        card_id = exact.card_id
        if card_id is None:
            return None
        if card_id.scheme != exact.scheme:
            raise CardUnusable(card_id.uri, f"it must lie in the same store as {exact.uri}")
        try:
            with headroom.at_most(MAX_CARD_BYTES):
                return self._whole(card_id)
        except headroom.NotSmall as error:
            has = f"it has {error.size_bytes} bytes"
            raise CardUnusable(card_id.uri, f"{has}, the limit is {MAX_CARD_BYTES}") from None

    def get_signature(self, model_id: ModelId) -> bytes:
        """Read what lies beside an artifact as its signature; unverified.

        Raises:
            SignatureMissing: nothing does.
            SignatureInvalid: it is too large for one.
            ArtifactError: it can't be read.
        """
        try:
            with self.reading, headroom.at_most(_MOST_SIGNATURE_BYTES):
                return self.read_signature(model_id)
        except ArtifactNotFound:
            raise SignatureMissing(model_id.uri) from None
        except headroom.NotSmall as error:
            problem = f"it has {error.size_bytes} bytes, the limit is {_MOST_SIGNATURE_BYTES}"
            raise SignatureInvalid(model_id.uri, problem) from None

    def read_signature(self, model_id: ModelId) -> bytes:
        """The bytes of a signature; raises as `read`."""
        return self.read(model_id.signature_id)

    def _checked(self, exact: ModelId, signature: bytes | None) -> bytes:
        """Return the bytes, once their signature is verified where they need one."""
        data = self._whole(exact)
        if signature is not None:
            if self.checker is None:
                raise SignatureUnverifiable(exact.uri, "this process is not set up for it")
            self.checker(data, exact, signature)
        return data

    def _whole(self, exact: ModelId) -> bytes:
        with self.reading:
            return check_digest(self.read(exact), exact)

    @abstractmethod
    def read(self, model_id: ModelId) -> bytes:
        """The bytes that `model_id` names.

        Raises:
            ArtifactError: they are not there, or others are.
        """


class FileSystemModelRepository(ArtifactRepository):
    """Reads artifacts from a folder, or from the absolute paths of ``file://`` ids.

    Args:
        root: the folder that plain relative ids, such as ``ann/7.joblib``, are looked up in; an id
            that leads out of it is refused. None: only ``file://`` ids.
        max_bytes: of one artifact.
        roots: where ``file://`` artifacts may lie.

    Example:
        >>> import joblib
        >>> from sklearn.dummy import DummyRegressor
        >>> folder = getfixture("tmp_path")
        >>> _ = joblib.dump(DummyRegressor().fit([[0.0], [1.0]], [4.0, 6.0]), folder / "ann.joblib")
        >>> model = FileSystemModelRepository(folder).get_model("ann.joblib")
        >>> import pandas as pd
        >>> model.predict(pd.DataFrame({"x": [9.0]}))
        array([5.])
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        max_bytes: int = MAX_ARTIFACT_BYTES,
        roots: FileRoots = ANYWHERE,
    ) -> None:
        self._root = None if root is None else root.resolve()
        self._inside = None if root is None else FileRoots([self._root or root])
        self._max_bytes = max_bytes
        self._roots = roots

    def read(self, model_id: ModelId) -> bytes:
        """The file as it stands."""
        with self._open(model_id) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            headroom.admit(min(size_bytes, self._max_bytes))
            data = b"" if size_bytes > self._max_bytes else file.read(size_bytes + 1)
            if len(data) > size_bytes:  # it grows while it is read; so large a buffer is seldom asked for
                data += file.read(self._max_bytes + 1 - len(data))
            if max(size_bytes, len(data)) > self._max_bytes:
                raise ArtifactTooLarge(model_id.uri, max(size_bytes, len(data)), self._max_bytes)
            return data

    @contextmanager
    def _open(self, model_id: ModelId) -> Iterator[BinaryIO]:
        if model_id.scheme == "file":
            with self._roots.open(model_id.uri) as file:
                yield file
            return
        if self._inside is None or model_id.scheme:
            raise ArtifactInvalid(model_id.uri, "this repository reads file:// ids only")
        try:
            with self._inside.open(f"{self._root}/{quote(model_id.uri)}") as file:
                yield file
        except ArtifactOutsideRoots:
            raise ArtifactInvalid(model_id.uri, f"it leads out of {self._root}") from None


def check_digest(data: bytes, model_id: ModelId) -> bytes:
    """Return the bytes; refuse others than the pinned ones, before anything deserialises them.

    Raises:
        ArtifactDigestMismatch: their sha256 differs from the one in the id.
    """
    if model_id.sha256 is None:
        return data
    seen = hashlib.sha256(data).hexdigest()
    if seen != model_id.sha256:
        raise ArtifactDigestMismatch(model_id.uri, model_id.sha256, seen)
    return data

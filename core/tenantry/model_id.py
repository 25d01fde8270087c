"""The name of exact bytes and of how they are used: the one type that composes and parses model ids."""

import re
from dataclasses import dataclass, fields
from functools import cache
from hashlib import sha256
from typing import Self
from urllib.parse import parse_qsl, quote

CARD_SUFFIX = ".card.json"
"""Of a card that lies beside its artifact, after the artifact's own name."""

SIGNATURE_SUFFIX = ".sig"
"""Of a signature, which lies beside its artifact, after the artifact's own name."""

DEFAULT_METHOD = "predict"

_IN_QUERY = ("version_id",)
_QUERY_NAMES = {"version_id": "versionId"}


@dataclass(frozen=True, slots=True)
class ModelId:
    """Everything that decides what a model answers: equal ids answer alike, so a cache can't be stale.

    Attributes:
        uri: ``s3://bucket/key`` (the plain key, never percent-encoded) or ``file:///path``.
        version_id: S3 object version.
        etag: S3 entity tag without quotes; the object is read with If-Match.
        sha256: digest of the artifact, 64 hexadecimal digits, checked before a byte is deserialised.
        format: loader to use; None: by the suffix of `uri`.
        method: what to call on the estimator; None: ``predict``. Several are separated by commas.
        compile: ``off`` to serve the original only; None: ``auto``.
        isolation: ``dedicated`` for a worker process that no other model shares; None: ``shared``.
        extra_columns: ``ignore`` to leave out columns of a request that the model does not take; None:
            ``refuse``.
        card: digest of the model's card, which is checked before it is read; None: it has none.
        card_uri: where the card lies; None: beside the artifact, under its name and ``.card.json``.
        namespace: whose models may share a worker with it, where it brings code of its own; None:
            ``default``.
        signatures: ``required`` where a server loads it only with a signature that it trusts; None: as the
            server's own settings say.

    Example:
        >>> exact = ModelId("s3://models/a.joblib", version_id="v7", sha256="9f" * 32)
        >>> str(exact)[:54]
        's3://models/a.joblib?versionId=v7#sha256=9f9f9f9f9f9f9'
        >>> ModelId.parse(str(exact)) == exact
        True
        >>> exact.short
        '9f9f9f9f'
    """

    uri: str
    version_id: str | None = None
    etag: str | None = None
    sha256: str | None = None
    format: str | None = None
    method: str | None = None
    compile: str | None = None
    extra_columns: str | None = None
    isolation: str | None = None
    namespace: str | None = None
    card: str | None = None
    card_uri: str | None = None
    signatures: str | None = None

    def __str__(self) -> str:
        query = _encode({"versionId": self.version_id})
        fragment = _encode({name: getattr(self, name) for name in _names() if name not in _IN_QUERY})
        return self.uri + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read back what `str` wrote; unknown parts are ignored, so that a newer writer may add some."""
        rest, _, fragment = text.partition("#")
        uri, _, query = rest.partition("?")
        parts = dict(parse_qsl(fragment)) | dict(parse_qsl(query))
        return cls(uri, **{name: parts.get(_QUERY_NAMES.get(name, name)) for name in _names()})

    @property
    def methods(self) -> tuple[str, ...]:
        """What is called on the estimator: one method, or several whose answers go together."""
        return tuple((self.method or DEFAULT_METHOD).split(","))

    @property
    def card_id(self) -> "ModelId | None":
        """The id of the card's exact bytes; None: the model has no card."""
        if self.card is None:
            return None
        return ModelId(self.card_uri or self.uri + CARD_SUFFIX, sha256=self.card)

    @property
    def signature_id(self) -> "ModelId":
        """The id of the signature, which pins nothing: it is verified whenever the model is loaded."""
        return ModelId(self.uri + SIGNATURE_SUFFIX)

    @property
    def scheme(self) -> str:
        """``s3`` or ``file``; empty for a plain path."""
        before, separator, _ = self.uri.partition("://")
        return before if separator else ""

    @property
    def short(self) -> str:
        """Eight characters for people; not unique."""
        return (self.sha256 or self.version_id or self.etag or "unpinned")[:8]


_PINNED = "#sha256="


def public_name(model_id: str) -> str:
    """Return what clients see of a model id: its version, and a digest of all of it; no bucket and no key.

    Other bytes, or another method, have another name. `tenantry get` shows it beside the whole id.

    Example:
        >>> public_name("s3://models/a.joblib#sha256=" + "9f86d081" * 8)
        '9f86d081-eb573f36177033fa69fa3e24'
    """
    digest = sha256(model_id.encode(errors="backslashreplace")).hexdigest()
    _, pinned, rest = model_id.rpartition(_PINNED)
    # What the operator pins is read without parsing, which would cost as much as a prediction.
    version = rest[:8] if pinned else ModelId.parse(model_id).short
    if not (version.isascii() and version.isalnum()):
        version = re.sub("[^A-Za-z0-9]", "", version)
    return f"{version or 'unpinned'}-{digest[:24]}"


@cache
def _names() -> list[str]:
    return [field.name for field in fields(ModelId) if field.name != "uri"]


def _encode(parts: dict[str, str | None]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in parts.items() if value is not None)

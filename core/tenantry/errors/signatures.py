"""Errors about the signature of an artifact: what was seen, and who has to do what.

Each is Stalled: a person has to act. Servers go on trying, as a signature may be put beside its artifact,
and trusted keys may change, without a change of the TenantModel.
"""

from typing import ClassVar

from tenantry.errors.artifacts import ArtifactError
from tenantry.model_id import SIGNATURE_SUFFIX


class SignatureRefused(ArtifactError):
    """An artifact that has to be signed, and is not signed by anybody whom the servers trust.

    Args:
        uri: of the artifact.
        problem: what was seen.
    """

    reason: ClassVar[str] = "SignatureRefused"
    words: ClassVar[str] = "{uri} has to be signed: {problem}"

    def __init__(self, uri: str, problem: str = "") -> None:
        signature = f"{uri}{SIGNATURE_SUFFIX}"
        super().__init__(self.words.format(uri=uri, signature=signature, problem=problem))


class SignatureMissing(SignatureRefused):
    """No signature lies beside the artifact."""

    reason: ClassVar[str] = "SignatureMissing"
    words: ClassVar[str] = (
        "{uri} has to be signed, and {signature} does not exist; nothing was deserialised. "
        "Run: tenantry sign {uri} --key KEY"
    )


class SignatureInvalid(SignatureRefused):
    """What lies beside the artifact is not a signature of these bytes."""

    reason: ClassVar[str] = "SignatureInvalid"
    words: ClassVar[str] = (
        "{signature} does not sign this artifact: {problem}; nothing was deserialised. "
        "If the artifact is yours, run: tenantry sign {uri} --key KEY"
    )


class SignatureUntrusted(SignatureRefused):
    """The artifact's signer is not one whom the servers trust."""

    reason: ClassVar[str] = "SignatureUntrusted"
    words: ClassVar[str] = (
        "{signature} is not by a signer that is trusted: {problem}; nothing was deserialised. "
        "Sign it with a trusted key, or let an admin trust this one"
    )


class SignatureExpired(SignatureRefused):
    """The signer's certificate is not valid now."""

    reason: ClassVar[str] = "SignatureExpired"
    words: ClassVar[str] = (
        "{signature} was made with a certificate that is not valid now: {problem}; "
        "nothing was deserialised. Run: tenantry sign {uri} --key KEY --certificate NEW"
    )


class SignatureUnverifiable(SignatureRefused):
    """This process can't verify signatures."""

    reason: ClassVar[str] = "SignatureUnverifiable"
    words: ClassVar[str] = "{uri} has to be signed, and signatures can't be verified here: {problem}"

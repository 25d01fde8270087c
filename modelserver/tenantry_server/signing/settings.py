"""Settings of signatures: what has to be signed, and by whom."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from tenantry.settings import CommonSettings
from tenantry_server.signing.trust import TrustSource


class Signatures(StrEnum):
    """Which artifacts have to be signed."""

    POLICY = "policy"
    REQUIRED = "required"


class SignatureSettings(CommonSettings):
    """Of a server's settings, and of `tenantry verify`, those about signatures."""

    signatures: Signatures = Field(
        default=Signatures.POLICY,
        description="Which artifacts have to be signed by somebody who is trusted: those of which a "
        "TenantPolicy says so (policy), or all (required). Needs the extra `signing`.",
    )
    signature_keys: str | None = Field(
        default=None,
        description="Files of public keys whose signatures are trusted (PEM; P-256, P-384 or P-521), or "
        "folders of such files, with : between them; unset: none. These files and those of the next two "
        "settings are read again every second.",
    )
    signature_certificates: str | None = Field(
        default=None,
        description="Files, or folders of files, of certificates (PEM) at which the chain of a signer's "
        "certificate may end; unset: none, also not those of the system.",
    )
    signature_sigstore: Path | None = Field(
        default=None,
        description="File with a client trust config of Sigstore (JSON), by which its signatures are "
        "verified offline; unset: none is trusted.",
    )
    signature_identities: str | None = Field(
        default=None,
        description="Who may sign by way of Sigstore: an identity and its OpenID Connect issuer with a "
        "space between them, several with commas between.",
    )

    @property
    def trust(self) -> TrustSource:
        """Where it stands whose signatures are trusted."""
        return TrustSource(
            self.signature_keys,
            self.signature_certificates,
            self.signature_sigstore,
            self.signature_identities,
        )

    @property
    def signed_only(self) -> bool:
        """Whether every artifact has to be signed."""
        return self.signatures is Signatures.REQUIRED

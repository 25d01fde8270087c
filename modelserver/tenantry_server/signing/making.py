"""Signs artifacts with a key, or with a key and its certificate, by `model-signing`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenantry.errors import NotPublished

_INSTALL = "pip install 'tenantry[signing]'"


@dataclass(frozen=True, slots=True)
class Signer:
    """What artifacts are signed with.

    Attributes:
        key: a file with the private key: PEM, of the curve P-256, P-384 or P-521.
        certificate: a file with the certificate of that key; None: the key alone, which is trusted by its
            public half.
        chain: files with the certificates between that one and a trusted one.
        password: of the key; None: it is not encrypted.
    """

    key: str | Path
    certificate: str | Path | None = None
    chain: Sequence[str | Path] = ()
    password: bytes | None = field(default=None, repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the signature of an artifact, to be stored beside it.

        Raises:
            NotPublished: the library is not installed, or key and certificate can't be used.
        """
        try:
            from model_signing import signing  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise NotPublished("signing", f"{error}; run: {_INSTALL}") from None
        config = signing.Config()
        try:
            if self.certificate is None:
                config.use_elliptic_key_signer(private_key=self.key, password=self.password)
            else:
                config.use_certificate_signer(
                    private_key=self.key,
                    signing_certificate=self.certificate,
                    # 1.1.1 refuses an empty chain; the certificate once more changes nothing.
                    certificate_chain=self.chain or [self.certificate],
                )
            with tempfile.TemporaryDirectory() as folder:
                artifact, signature = Path(folder, "artifact"), Path(folder, "artifact.sig")
                artifact.write_bytes(data)
                config.sign(artifact, signature)
                return signature.read_bytes()
        except (OSError, ValueError, TypeError) as error:
            raise NotPublished(str(self.key), f"nothing can be signed with it: {error}") from None


def signer_of(given: "Signer | str | Path | None") -> Signer | None:
    """Return what `publish` was given, where it was given something; a path is one of a key."""
    return given if given is None or isinstance(given, Signer) else Signer(given)

"""Verifies a signature by `model-signing`: in a worker, or where a person asks.

Read against model-signing 1.1.1. What it leaves open is closed here:

- it takes a certificate's chain as of the time when that became valid, so one that has expired still
  passes: the chain is verified once more as of now;
- it hashes a file or folder as the signature says. Here, a signature has to name one file by its SHA-256,
  which is compared with that of the artifact's bytes; so no artifact is written to a disk or read again;
- without certificates it trusts those of the operating system: it is never called without.
"""

import base64
import hashlib
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from tenantry.errors import (
    SignatureExpired,
    SignatureInvalid,
    SignatureRefused,
    SignatureUntrusted,
    SignatureUnverifiable,
)
from tenantry_server.signing.trust import Trust

INSTALL = "pip install 'tenantry[signing]'"
_NOT_VALID_NOW = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED of OpenSSL
_WHOLE = "."  # how the library names a model that is one file
_MOST_WORDS = 300


def check(uri: str, sha256: str, signature: bytes, trust: Trust) -> str:
    """Verify that somebody who is trusted signed these bytes.

    Args:
        uri: of the artifact, for messages.
        sha256: of its bytes, hexadecimal.
        signature: a Sigstore bundle, as `model_signing` and `tenantry sign` write it.

    Returns:
        who signed, for people.

    Raises:
        SignatureInvalid: it signs other bytes, or can't be read.
        SignatureUntrusted: somebody else signed.
        SignatureExpired: the signer's certificate is not valid now.
        SignatureUnverifiable: the library is not installed, or nobody is trusted.
    """
    if not trust.anybody:
        raise SignatureUnverifiable(uri, "no signer is trusted; set TENANTRY_SIGNATURE_KEYS of the servers")
    try:
        from model_signing import verifying  # noqa: F401, PLC0415 - an extra, of 47 MiB
    except ImportError as error:
        raise SignatureUnverifiable(uri, f"{error}; where the servers run: {INSTALL}") from None
    material = _material(uri, signature)
    signed = _Signed(uri, sha256, signature)
    try:
        if "publicKey" in material:
            return _by_key(signed, material["publicKey"], trust)
        if "x509CertificateChain" in material:
            return _by_certificate(signed, material["x509CertificateChain"], trust)
        if "certificate" in material:
            return _by_sigstore(signed, trust)
    except SignatureRefused:
        raise
    except Exception as error:  # of whichever library stumbles over a stranger's bytes
        raise signed.broken(error) from error
    raise SignatureInvalid(uri, "it has neither a key, nor certificates, nor one of Sigstore")


@dataclass(frozen=True, slots=True)
class _Signed:
    """An artifact and what may be its signature."""

    uri: str
    sha256: str
    signature: bytes

    def verify(self, config: Any) -> None:
        """Let the library verify it, and compare what was signed with the artifact's digest.

        Raises:
            SignatureInvalid: other bytes were signed.
            Exception: whatever the library raises.
        """
        same = _SameDigest(self.uri, self.sha256)
        with tempfile.NamedTemporaryFile(suffix=".sig") as file:
            file.write(self.signature)
            file.flush()
            config.set_hashing_config(_known(same)).verify(Path(file.name), Path(file.name))
        if not same.held:  # the library was made to compare in another way
            raise SignatureUnverifiable(self.uri, "this version of model-signing is not known here")

    def broken(self, error: Exception) -> SignatureInvalid:
        """Return the error for a signature that does not hold."""
        said = " ".join(str(error).split())[:_MOST_WORDS] or type(error).__name__
        return SignatureInvalid(self.uri, f"it does not hold ({said})")


class _SameDigest:
    """Stands for the manifest of the artifact, which the library compares with what was signed."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, uri: str, sha256: str) -> None:
        self._uri, self._sha256, self.held = uri, sha256, False

    def __eq__(self, signed: object) -> bool:
        files = [
            (each.identifier, each.digest.algorithm, each.digest.digest_hex)
            for each in signed.resource_descriptors()  # type: ignore[attr-defined]
        ]
        if len(files) != 1 or files[0][:2] != (_WHOLE, "sha256"):
            raise SignatureInvalid(self._uri, "it is not about one file with its SHA-256")
        if files[0][2] != self._sha256:
            raise SignatureInvalid(
                self._uri, f"it signs bytes with sha256 {files[0][2]}, the artifact has {self._sha256}"
            )
        self.held = True
        return True


def _known(digest: _SameDigest) -> Any:
    """Return a way of hashing by which nothing is read: the digest is known."""
    from model_signing import hashing  # noqa: PLC0415 - an extra

    class Known(hashing.Config):  # type: ignore[misc, unused-ignore]
        def hash(self, *_: Any, **__: Any) -> Any:
            return digest

        def add_ignored_paths(self, **_: Any) -> None:
            """Ignore nothing."""

    return Known()


def _by_key(signed: _Signed, named: dict[str, Any], trust: Trust) -> str:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from model_signing import verifying  # noqa: PLC0415 - an extra

    hint = str(named.get("hint") or "")
    known = _prepared(trust).keys
    if hint not in known:
        shown = ", ".join(each[:12] for each in known) or "none (TENANTRY_SIGNATURE_KEYS)"
        raise SignatureUntrusted(signed.uri, f"its key is {hint[:12] or 'not named'}, trusted are {shown}")
    config = verifying.Config().use_elliptic_key_verifier(public_key=known[hint])
    try:
        signed.verify(config)
    except InvalidSignature:
        raise SignatureInvalid(
            signed.uri, f"it was not made with key {hint[:12]}, which it names"
        ) from None
    return f"key {hint[:12]}"


def _by_certificate(signed: _Signed, named: dict[str, Any], trust: Trust) -> str:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from model_signing import verifying  # noqa: PLC0415 - an extra
    from OpenSSL import crypto  # noqa: PLC0415 - an extra

    roots = _prepared(trust).certificates
    if roots is None:
        raise SignatureUntrusted(signed.uri, "it is by a certificate, and none is trusted")
    config = verifying.Config().use_certificate_verifier(certificate_chain=[roots])
    try:
        signed.verify(config)
        return _valid_now([each["rawBytes"] for each in named["certificates"]], roots)
    except crypto.X509StoreContextError as error:
        kind = SignatureExpired if error.errors[0] in _NOT_VALID_NOW else SignatureUntrusted
        raise kind(signed.uri, _about(error)) from None
    except InvalidSignature:
        raise SignatureInvalid(signed.uri, "it was not made with the certificate that it names") from None


def _valid_now(chain: list[str], roots: Path) -> str:
    """Verify the chain as of now; return whom it is about.

    Raises:
        X509StoreContextError: it is not valid.
    """
    from cryptography import x509  # noqa: PLC0415 - an extra
    from OpenSSL import crypto  # noqa: PLC0415 - an extra

    store = crypto.X509Store()
    for root in x509.load_pem_x509_certificates(roots.read_bytes()):
        store.add_cert(crypto.X509.from_cryptography(root))
    signer, *between = [x509.load_der_x509_certificate(base64.b64decode(each)) for each in chain]
    others = [crypto.X509.from_cryptography(each) for each in between]
    crypto.X509StoreContext(store, crypto.X509.from_cryptography(signer), others).verify_certificate()
    return f"certificate {signer.subject.rfc4514_string()}"


def _about(error: Any) -> str:
    """Return what OpenSSL says about a chain, and about which certificate."""
    found = error.certificate.to_cryptography()
    until = f"{found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return f"{error.errors[2]} ({found.subject.rfc4514_string()}, valid until {until})"


def _by_sigstore(signed: _Signed, trust: Trust) -> str:
    from model_signing import verifying  # noqa: PLC0415 - an extra
    from sigstore.errors import Error as SigstoreError  # noqa: PLC0415 - an extra

    config_file = _prepared(trust).sigstore
    if config_file is None or not trust.identities:
        raise SignatureUntrusted(signed.uri, "it is by way of Sigstore, and no trust root of it is given")
    said = ""
    for identity, issuer in trust.identities:
        config = verifying.Config().use_sigstore_verifier(
            identity=identity, oidc_issuer=issuer, trust_config=config_file
        )
        try:
            signed.verify(config)
        except SigstoreError as error:
            said = said or " ".join(str(error).split())[:_MOST_WORDS]
        else:
            return f"{identity} of {issuer}"
    raise SignatureUntrusted(signed.uri, f"Sigstore's verification says: {said}")


def _material(uri: str, signature: bytes) -> dict[str, Any]:
    """Return what a bundle says it is verified with, unverified.

    Raises:
        SignatureInvalid: it is not a bundle.
    """
    try:
        material = orjson.loads(signature)["verificationMaterial"]
    except (ValueError, KeyError, TypeError):
        material = None
    if not isinstance(material, dict) or not all(
        isinstance(material.get(name, {}), dict) for name in ("publicKey", "x509CertificateChain")
    ):
        raise SignatureInvalid(uri, "it is not a Sigstore bundle in JSON")
    return material


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is trusted, as files: the library reads nothing else.

    Attributes:
        keys: by the SHA-256 of each, as a signature names it.
        certificates: all of them in one file; None: there is none.
        sigstore: None: there is none.
    """

    keys: dict[str, Path]
    certificates: Path | None
    sigstore: Path | None


@lru_cache(maxsize=1)
def _prepared(trust: Trust) -> _Prepared:
    """Write what is trusted to a folder that goes with this process."""
    folder = Path(_folder().name)

    def written(name: str, text: str) -> Path | None:
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}-{name}"
        path.write_text(text)
        return path if text else None

    keys: dict[str, Path] = {}
    for pem in trust.keys:
        path = written("key.pem", pem)
        if path is not None:
            keys[_hint_of(pem)] = path
    return _Prepared(
        keys, written("ca.pem", "\n".join(trust.certificates)), written("sigstore", trust.sigstore)
    )


@lru_cache(maxsize=1)
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="tenantry-trust-")


def _hint_of(pem: str) -> str:
    """Return the name of a key in a signature, which is the digest of its canonical PEM."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra

    try:
        key = serialization.load_pem_public_key(pem.encode())
    except Exception as error:  # of OpenSSL, by its kind; the other keys hold
        return f"unreadable: {error}"
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(encoding, form)).hexdigest()

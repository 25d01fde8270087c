"""Keys and certificates, made for one test each."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Key:
    """A private key in a file, and its public half in another."""

    private: Path
    public: Path
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The public half."""
        return self.public.read_text().strip()


def make_key(folder: Path, name: str) -> Key:
    """A key of P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    encoding = serialization.Encoding.PEM
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(encoding, pkcs8, plain))
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(encoding, info))
    return Key(private, public, key)


@dataclass(frozen=True)
class Certified:
    """A key and its certificate."""

    key: Key
    file: Path
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.file.read_text().strip()


def certified(
    folder: Path,
    name: str,
    issuer: Certified | None = None,
    *,
    ca: bool = False,
    days: tuple[int, int] = (-10, 10),
    signs: bool = True,
) -> Certified:
    """A certificate by another one, or by itself.

    Args:
        days: from when to when it is valid, from now on.
        signs: whether it may sign data.
    """
    key, now = make_key(folder, name), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=signs, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
        key_encipherment=not signs, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign((key if issuer is None else issuer.key).key, hashes.SHA256())
    )
    file = folder / f"{name}.crt"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return Certified(key, file, made)

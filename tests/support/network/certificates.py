"""Certificates made by the test, as an issuer of cert-manager would: a CA of its own, and what it signs."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL = ("127.0.0.1", "localhost")
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    cert: bytes
    key: bytes

    def write(self, folder: Path, ca: "Authority | None" = None) -> None:
        """Write them as a Secret of type kubernetes.io/tls is mounted."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tls.crt").write_bytes(self.cert)
        (folder / "tls.key").write_bytes(self.key)
        if ca is not None:
            (folder / "ca.crt").write_bytes(ca.pem)


class Authority:
    """Signs certificates.

    Attributes:
        pem: its own.
    """

    def __init__(self, name: str = "test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self._cert = (
            self._builder(self._name, self._key.public_key(), 0, 30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._cert.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        names: Sequence[str] = LOCAL,
        *,
        usages: Sequence[x509.ObjectIdentifier] = BOTH,
        from_days: float = 0,
        days: float = 10,
        passphrase: bytes | None = None,
    ) -> Pair:
        """Sign a certificate for these hosts, valid for `days` from `from_days` on (negative: past)."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = (
            self._builder(_named(names[0]), key.public_key(), from_days, days)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            hidden = serialization.BestAvailableEncryption(passphrase)
        return Pair(
            cert.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden),
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, from_days: float, days: float
    ) -> x509.CertificateBuilder:
        begins = dt.datetime.now(dt.UTC) - _DAY / 24 + _DAY * from_days
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + _DAY * days)
        )


class MountedSecret:
    """A folder as the kubelet mounts a Secret: files that lead through one link, which is swapped."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._versions = 0
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (folder / name).symlink_to(Path("..data") / name)

    def put(self, pair: Pair, ca: Authority) -> None:
        """Put a new version in force, in one step."""
        self._versions += 1
        version = f"..version-{self._versions}"
        pair.write(self.folder / version, ca)
        (self.folder / "..data_tmp").symlink_to(version)
        (self.folder / "..data_tmp").replace(self.folder / "..data")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Settings that name these files."""
    return {
        "TENANTRY_TLS_CERT": str(folder / "tls.crt"),
        "TENANTRY_TLS_KEY": str(folder / "tls.key"),
        "TENANTRY_TLS_CA": str(folder / "ca.crt"),
        **more,
    }


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

"""What keyless signing needs, for one test: an authority as Fulcio, logs as Rekor and a certificates' log.

The forms are those of the Sigstore client specification; RFC 6962 has the logs and their timestamps.
"""

import base64
import datetime as dt
import hashlib
import json
import struct
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

IDENTITY, ISSUER = "release@example.com", "https://accounts.example.com"
_TIMESTAMPS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_MINUTE = dt.timedelta(minutes=1)
_YEAR = dt.timedelta(days=365)


class Sigstore:
    """An instance of Sigstore, with keys of its own."""

    def __init__(self) -> None:
        self._authority, self._log, self._certificates = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(3)
        )
        now = dt.datetime.now(dt.UTC)
        self._began = now - _YEAR
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a root of this test")])
        public = self._authority.public_key()
        self._root = (
            x509.CertificateBuilder(
                name, name, public, x509.random_serial_number(), self._began, now + _YEAR
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._authority, hashes.SHA256())
        )

    def trust_config(self, signing: dict[str, Any]) -> str:
        """The client trust config; `signing` says where to sign, which nobody does here."""
        since = {"start": f"{self._began:%Y-%m-%dT%H:%M:%SZ}"}
        authority = {
            "subject": {"organization": "test", "commonName": "a root of this test"},
            "uri": "https://fulcio.invalid",
            "certChain": {"certificates": [{"rawBytes": _b64(_der(self._root))}]},
            "validFor": since,
        }
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_instance("https://rekor.invalid", self._log, since)],
            "ctlogs": [_instance("https://ctfe.invalid", self._certificates, since)],
            "certificateAuthorities": [authority],
            "timestampAuthorities": [],
        }
        kind = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return json.dumps({"mediaType": kind, "trustedRoot": root, "signingConfig": signing})

    def bundle(
        self, key: ec.EllipticCurvePrivateKey, signed: dict[str, Any], identity: str = IDENTITY
    ) -> bytes:
        """Turn what a key has signed into what an identity has signed with it, and the log has seen.

        Args:
            signed: a bundle that `key` has made.
        """
        certificate = self._certificate(key.public_key(), identity)
        envelope = signed["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        spec = {
            "envelopeHash": _hash(json.dumps(envelope).encode()),
            "payloadHash": _hash(base64.b64decode(envelope["payload"])),
            "signatures": [{"signature": signature["sig"], "verifier": _b64(pem)}],
        }
        body = _canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        material = {
            "certificate": {"rawBytes": _b64(_der(certificate))},
            "tlogEntries": [self._entry(body)],
        }
        kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
        return json.dumps(
            {"mediaType": kind, "verificationMaterial": material, "dsseEnvelope": envelope}
        ).encode()

    def _entry(self, body: bytes) -> dict[str, Any]:
        """The first entry of a log: it is the root of the tree."""
        root = hashlib.sha256(b"\0" + body).digest()
        seen = int(dt.datetime.now(dt.UTC).timestamp())
        note = f"rekor.invalid\n1\n{_b64(root)}\n"
        line = _b64(_id(self._log)[:4] + _sign(self._log, note.encode()))
        promise = {"body": _b64(body), "integratedTime": seen, "logID": _id(self._log).hex(), "logIndex": 0}
        return {
            "logIndex": "0",
            "logId": {"keyId": _b64(_id(self._log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(seen),
            "inclusionPromise": {"signedEntryTimestamp": _b64(_sign(self._log, _canonical(promise)))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\N{EM DASH} rekor.invalid {line}\n"},
            },
            "canonicalizedBody": _b64(body),
        }

    def _certificate(self, public: ec.EllipticCurvePublicKey, identity: str) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        authority = self._authority.public_key()
        builder = (
            x509.CertificateBuilder(
                self._root.subject,
                x509.Name([]),
                public,
                x509.random_serial_number(),
                now - _MINUTE,
                now + 10 * _MINUTE,
            )
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, ISSUER.encode()), critical=False)
        )
        before = builder.sign(self._authority, hashes.SHA256()).tbs_certificate_bytes
        at_ms = int(now.timestamp() * 1000)
        entry = hashlib.sha256(_spki(self._authority)).digest() + len(before).to_bytes(3, "big") + before
        stamped = struct.pack("!BBQH", 0, 0, at_ms, 1) + entry + bytes(2)
        signature = _sign(self._certificates, stamped)
        stamp = (
            struct.pack("!B32sQHBBH", 0, _id(self._certificates), at_ms, 0, 4, 3, len(signature))
            + signature
        )
        listed = struct.pack("!HH", len(stamp) + 2, len(stamp)) + stamp
        octets = bytes([4, len(listed)]) if len(listed) < 128 else bytes([4, 0x81, len(listed)])
        stamps = x509.UnrecognizedExtension(_TIMESTAMPS, octets + listed)
        return builder.add_extension(stamps, critical=False).sign(self._authority, hashes.SHA256())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _instance(url: str, key: ec.EllipticCurvePrivateKey, since: dict[str, str]) -> dict[str, Any]:
    public = {"rawBytes": _b64(_spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": public,
        "logId": {"keyId": _b64(_id(key))},
    }


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_spki(key)).digest()


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, form)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()

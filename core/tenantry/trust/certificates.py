"""Files of certificates, read and checked: contexts of `ssl`, or words for what is wrong with which file.

Owns what makes files usable together. Refuses sockets, and to keep anything. What `ssl` does not tell of a
certificate, a handshake in memory does.
"""

import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantry.errors import InvalidSetting

_ROUNDS = 4  # that a handshake takes at most
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: the words about time are ours
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

Signature = tuple[tuple[int, ...] | None, ...]
"""Of each file: device, inode, time of modification in ns and size, or None where it is missing."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where certificates are, in PEM.

    Attributes:
        cert: this process's, with the chain up to `ca`.
        key: its private key, without a passphrase.
        ca: certificates of the CA that signs those of servers; None: others are trusted as the system
            trusts them, and show no certificate themselves.
    """

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.cert is not None or self.ca is not None


@dataclass(frozen=True, slots=True)
class Contexts:
    """What was made of the files.

    Attributes:
        server: for connections of others; None: there is no certificate for it.
        client: for connections to others.
        expires: when the certificate ends, in the form of `ssl.cert_time_to_seconds`; empty: there is none.
    """

    server: ssl.SSLContext | None
    client: ssl.SSLContext
    expires: str = ""


def read(files: Files) -> Contexts:
    """Make contexts of files.

    Raises:
        InvalidSetting: a file is missing, broken, expired or does not belong to the others.
    """
    client = _trusting(files)
    if files.cert is None:
        return Contexts(None, client)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.set_alpn_protocols(["http/1.1"])
    for context in (server, client):
        _show(context, files)
    expires = _expires(server, files.cert)
    if files.ca is not None:
        server.verify_flags &= ~ssl.VERIFY_X509_STRICT
        server.load_verify_locations(files.ca)
        server.verify_mode = ssl.CERT_OPTIONAL  # of the kubelet and of clients none is asked
        _prove(server, files)
    return Contexts(server, client, expires)


def signature(files: Files) -> Signature:
    """Return what changes with the files, or with what their links lead to."""
    return tuple(map(_stat, (files.cert, files.key, files.ca)))


def _stat(path: Path | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _trusting(files: Files) -> ssl.SSLContext:
    if files.ca is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Python 3.13 refuses CAs without key identifiers by default, which Kubernetes and older tools make.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(files.ca)
    except OSError as error:  # of ssl too
        raise InvalidSetting(
            f"TENANTRY_TLS_CA={files.ca}: {_words(error)}; give certificates in PEM"
        ) from None
    if not context.cert_store_stats()["x509"]:
        raise InvalidSetting(f"TENANTRY_TLS_CA={files.ca} holds no certificate; give certificates in PEM")
    return context


def _show(context: ssl.SSLContext, files: Files) -> None:
    """Let the other end see this process's certificate."""
    where = f"TENANTRY_TLS_CERT={files.cert}, TENANTRY_TLS_KEY={files.key}"

    def refused() -> str:
        raise InvalidSetting(f"TENANTRY_TLS_KEY={files.key} has a passphrase; give a key without one")

    try:
        context.load_cert_chain(str(files.cert), files.key, password=refused)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = "the key is not the one of the certificate; give the pair that was issued together"
        else:
            problem = f"not a certificate and its key in PEM ({_words(error)})"
        raise InvalidSetting(f"{where}: {problem}") from None
    except OSError as error:
        raise InvalidSetting(f"{where}: {_words(error)}") from None


def _expires(server: ssl.SSLContext, path: Path) -> str:
    """Return when a certificate ends.

    Raises:
        InvalidSetting: it is not in force, or not for servers.
    """
    first = _PEM.search(path.read_text(errors="replace"))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    try:
        client.load_verify_locations(cadata=first.group() if first else "")
        seen = _handshake(server, client)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidSetting(
            f"TENANTRY_TLS_CERT={path} is not usable for a server: {_words(error)}"
        ) from None
    now_s = time.time()
    if ssl.cert_time_to_seconds(seen["notAfter"]) <= now_s:
        raise InvalidSetting(
            f"TENANTRY_TLS_CERT={path} expired on {seen['notAfter']}; issue a new certificate"
        )
    if ssl.cert_time_to_seconds(seen["notBefore"]) > now_s:
        raise InvalidSetting(
            f"TENANTRY_TLS_CERT={path} is not valid before {seen['notBefore']}; check the clock"
        )
    return str(seen["notAfter"])


def _prove(server: ssl.SSLContext, files: Files) -> None:
    """Connect this process with itself, as servers connect to each other.

    Raises:
        InvalidSetting: they would refuse each other.
    """
    peer = _trusting(files)
    peer.check_hostname = False
    _show(peer, files)
    try:
        _handshake(server, peer)
    except ssl.SSLError as error:
        raise InvalidSetting(
            f"other servers would refuse TENANTRY_TLS_CERT={files.cert} ({_words(error)}); it has to be "
            f"signed by TENANTRY_TLS_CA={files.ca}, for the usages server auth and client auth"
        ) from None


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> Mapping[str, Any]:
    """Connect two contexts in memory; return the server's certificate as the client sees it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        for side in (near, far):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return near.getpeercert() or {}


def _words(error: Exception) -> str:
    """Return what OpenSSL or the system says, without the lines of C."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)

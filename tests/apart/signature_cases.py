"""Signatures by the real library: who is accepted, what is refused and why, and what it costs."""

import base64
import hashlib
import json
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import model_signing.signing
import pytest
import sigstore
from click.testing import CliRunner
from sklearn.linear_model import Ridge

from tenantry import Model, ModelId
from tenantry.errors import (
    SignatureInvalid,
    SignatureMissing,
    SignatureRefused,
    SignatureUntrusted,
    WorkersUnavailable,
)
from tenantry.publishing import Signer, publish
from tenantry_cli.main import cli
from tenantry_server.artifacts.repositories import FileSystemModelRepository
from tenantry_server.signing.checking import check
from tenantry_server.signing.trust import Trust
from tenantry_server.workers import usage
from tenantry_server.workers.calls.signatures import SignatureChecks
from tenantry_server.workers.pool import Pool
from tests.support.stores import keyless
from tests.support.stores.s3 import S3Server
from tests.support.stores.signers import Certified, Key, certified, make_key

ARTIFACT = b"x" * 5000
SHA256 = hashlib.sha256(ARTIFACT).hexdigest()
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated")  # of the library
URI = "s3://models/ann/7.skops"
TARGET_MS = 1.2


@dataclass
class Signers:
    """Who signs in these tests."""

    folder: Path
    ours: Key
    theirs: Key
    ca: Certified
    other_ca: Certified


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    folder = tmp_path_factory.mktemp("signers")
    return Signers(
        folder,
        make_key(folder, "ours"),
        make_key(folder, "theirs"),
        certified(folder, "ca", ca=True),
        certified(folder, "other-ca", ca=True),
    )


def by_certificate(signer: Certified, *chain: Certified) -> bytes:
    return Signer(signer.key.private, signer.file, [each.file for each in chain]).sign(ARTIFACT)


def bundle(signature: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(signature)
    return found


def with_hint_of(signature: bytes, other: bytes) -> bytes:
    """A signature that names the key of another one."""
    changed = bundle(signature)
    changed["verificationMaterial"] = bundle(other)["verificationMaterial"]
    return json.dumps(changed).encode()


def about_other_bytes(signature: bytes) -> bytes:
    """A signature whose statement was changed afterwards."""
    changed = bundle(signature)
    envelope = changed["dsseEnvelope"]
    statement = base64.b64decode(envelope["payload"]).replace(SHA256.encode(), b"0" * 64)
    envelope["payload"] = base64.b64encode(statement).decode()
    return json.dumps(changed).encode()


def of_a_folder(folder: Path, key: Key) -> bytes:
    """A signature of a model of two files, one of which is the artifact."""
    model = folder / "whole"
    model.mkdir(exist_ok=True)
    for name in ("a", "b"):
        (model / name).write_bytes(ARTIFACT)
    model_signing.signing.Config().use_elliptic_key_signer(private_key=key.private).sign(
        model, folder / "whole.sig"
    )
    return (folder / "whole.sig").read_bytes()


def of_another_tool(folder: Path, key: Key) -> bytes:
    """What the library itself writes, as its own command would."""
    (folder / "7.skops").write_bytes(ARTIFACT)
    model_signing.signing.Config().use_elliptic_key_signer(private_key=key.private).sign(
        folder / "7.skops", folder / "7.skops.sig"
    )
    return (folder / "7.skops.sig").read_bytes()


def trust(signers: Signers) -> Trust:
    return Trust(keys=(signers.ours.pem,), certificates=(signers.ca.pem,))


ACCEPTED: dict[str, Callable[[Signers], bytes]] = {
    "by a key": lambda s: Signer(s.ours.private).sign(ARTIFACT),
    "by a key, with the library's own command": lambda s: of_another_tool(s.folder, s.ours),
    "by a certificate": lambda s: by_certificate(certified(s.folder, "signer", s.ca)),
    "by a certificate of a certificate": lambda s: by_certificate(
        certified(s.folder, "leaf", between := certified(s.folder, "between", s.ca, ca=True)), between
    ),
}
REFUSED: dict[str, tuple[str, str, Callable[[Signers], bytes]]] = {
    "other bytes": (
        "SignatureInvalid", "it signs bytes with sha256", lambda s: Signer(s.ours.private).sign(b"y")
    ),
    "a foreign key": (
        "SignatureUntrusted", "trusted are", lambda s: Signer(s.theirs.private).sign(ARTIFACT)
    ),
    "a foreign key that names ours": (
        "SignatureInvalid", "which it names",
        lambda s: with_hint_of(Signer(s.theirs.private).sign(ARTIFACT), Signer(s.ours.private).sign(b"")),
    ),
    "a statement that was changed": (
        "SignatureInvalid", "which it names",
        lambda s: about_other_bytes(Signer(s.ours.private).sign(ARTIFACT)),
    ),
    "nothing": ("SignatureInvalid", "not a Sigstore bundle", lambda _: b""),
    "garbage": ("SignatureInvalid", "not a Sigstore bundle", lambda _: b"\x80\x04\x95garbage"),
    "a list": ("SignatureInvalid", "not a Sigstore bundle", lambda _: b"[1]"),
    "an empty bundle": (
        "SignatureInvalid", "neither a key", lambda _: b'{"verificationMaterial": {}}'
    ),
    "a bundle without an envelope": (
        "SignatureInvalid", "it does not hold",
        lambda s: json.dumps({k: v for k, v in bundle(Signer(s.ours.private).sign(ARTIFACT)).items()
                              if k != "dsseEnvelope"}).encode(),
    ),
    "a model of several files": (
        "SignatureInvalid", "not about one file", lambda s: of_a_folder(s.folder, s.ours)
    ),
    "a certificate that has expired": (
        "SignatureExpired", "has expired (CN=old, valid until",
        lambda s: by_certificate(certified(s.folder, "old", s.ca, days=(-9, -1))),
    ),
    "a certificate between that has expired": (
        "SignatureExpired", "has expired (CN=old-between",
        lambda s: by_certificate(
            certified(s.folder, "young", old := certified(s.folder, "old-between", s.ca, ca=True,
                                                          days=(-9, -1)), days=(-8, 9)), old
        ),
    ),
    "a certificate of another authority": (
        "SignatureUntrusted", "other-ca",
        lambda s: by_certificate(certified(s.folder, "stranger", s.other_ca), s.other_ca),
    ),
    "a certificate by itself": (
        "SignatureUntrusted", "self", lambda s: by_certificate(certified(s.folder, "alone", ca=True))
    ),
    "a certificate that may not sign": (
        "SignatureInvalid", "cannot be used for signing",
        lambda s: by_certificate(certified(s.folder, "mute", s.ca, signs=False)),
    ),
    "by way of Sigstore, without a trust root": (
        "SignatureUntrusted", "no trust root", lambda _: b'{"verificationMaterial": {"certificate": {}}}'
    ),
}  # fmt: skip


@pytest.mark.parametrize("made", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_trusted_signer_is_accepted(signers: Signers, made: Callable[[Signers], bytes]) -> None:
    said = check(URI, SHA256, made(signers), trust(signers))
    assert said.startswith(("key ", "certificate CN="))


@pytest.mark.parametrize(("reason", "words", "made"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_in_words(
    signers: Signers, reason: str, words: str, made: Callable[[Signers], bytes]
) -> None:
    with pytest.raises(SignatureRefused) as caught:
        check(URI, SHA256, made(signers), trust(signers))
    assert (caught.value.reason, words in str(caught.value)) == (reason, True), str(caught.value)
    assert f"{URI}.sig" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_nobody_is_trusted_nothing_is_accepted(signers: Signers) -> None:
    """The library itself would trust every authority of the operating system."""
    chain = by_certificate(certified(signers.folder, "signer-2", signers.ca))
    for trusted, reason in ((Trust(), "Unverifiable"), (Trust(keys=(signers.ours.pem,)), "Untrusted")):
        with pytest.raises(SignatureRefused) as caught:
            check(URI, SHA256, chain, trusted)
        assert caught.value.reason == f"Signature{reason}"


def test_a_trust_root_of_sigstore_is_used_without_a_network(
    signers: Signers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roots that the library ships; a bundle by another authority, with no entry of a log."""
    (store,) = Path(sigstore.__file__).parent.glob("_store/*sigstore.dev")
    config = {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": json.loads((store / "trusted_root.json").read_text()),
        "signingConfig": signing_config(),
    }
    who = (("release@example.com", "https://accounts.example.com"),)
    signed = bundle(by_certificate(certified(signers.folder, "keyless", signers.ca)))
    first, *_ = signed["verificationMaterial"].pop("x509CertificateChain")["certificates"]
    signed["verificationMaterial"]["certificate"] = first

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("it asks the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    with pytest.raises(SignatureRefused) as caught:
        check(URI, SHA256, json.dumps(signed).encode(), Trust(sigstore=json.dumps(config), identities=who))
    assert caught.value.reason in ("SignatureUntrusted", "SignatureInvalid")


def signing_config() -> dict[str, Any]:
    """Where the library would sign by default."""
    (store,) = Path(sigstore.__file__).parent.glob("_store/*sigstore.dev")
    found: dict[str, Any] = json.loads((store / "signing_config.v0.2.json").read_text())
    return found


def test_an_identity_of_sigstore_is_accepted_by_its_trust_root_alone(
    signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority and logs as of Sigstore; nothing is asked. Another identity or log is not trusted."""
    key, ours, theirs = signers.ours.key, keyless.Sigstore(), keyless.Sigstore()
    signed = bundle(Signer(signers.ours.private).sign(ARTIFACT))
    config = ours.trust_config(signing_config())
    trusted = Trust(sigstore=config, identities=((keyless.IDENTITY, keyless.ISSUER),))

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("it asks the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    made = ours.bundle(key, signed)
    assert check(URI, SHA256, made, trusted) == f"{keyless.IDENTITY} of {keyless.ISSUER}"
    with pytest.raises(SignatureInvalid, match="it signs bytes with sha256"):
        check(URI, "0" * 64, made, trusted)
    for other in (ours.bundle(key, signed, "mallory@example.com"), theirs.bundle(key, signed)):
        with pytest.raises(SignatureUntrusted, match="Sigstore's verification says"):
            check(URI, SHA256, other, trusted)
    forged = bundle(made)
    (entry,) = forged["verificationMaterial"]["tlogEntries"]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)
    with pytest.raises(SignatureUntrusted, match="log entry"):
        check(URI, SHA256, json.dumps(forged).encode(), trusted)


def test_what_the_extra_has_to_name(signers: Signers) -> None:
    """The library imports pyOpenSSL for keys, too, and does not declare it: our extra does."""
    declared = " ".join(metadata.requires("model-signing") or []).lower()
    assert "pyopenssl" not in declared, "it is declared now: take it out of the extra `signing`"


def test_what_one_signature_costs(signers: Signers) -> None:
    """Printed, beside its target; a bound that no busy machine misses."""
    signature, trusted = Signer(signers.ours.private).sign(ARTIFACT), trust(signers)
    times = []
    for _ in range(50):
        began = time.perf_counter()
        check(URI, SHA256, signature, trusted)
        times.append(1e3 * (time.perf_counter() - began))
    print(f"one signature of 5 kB: {statistics.median(times):.2f} ms, target {TARGET_MS} ms")


class Recorded:
    """Notes what would be deserialised."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def __call__(self, _data: bytes, exact: ModelId, _card: bytes | None) -> Model:
        self.loaded.append(exact.uri)
        raise WorkersUnavailable("it was to be loaded")


async def test_a_worker_verifies_before_a_byte_is_deserialised(signers: Signers, tmp_path: Path) -> None:
    path = tmp_path / "7.skops"
    path.write_bytes(ARTIFACT)
    exact = ModelId(path.as_uri(), sha256=SHA256, signatures="required")
    trusted = [trust(signers)]
    pool, repository, loads = Pool(most=1), FileSystemModelRepository(), Recorded()
    pool.start()
    await pool.until_ready()
    repository.loader = loads
    repository.checker = SignatureChecks(pool, lambda: trusted[-1], timeout_s=180).check
    loop = pool.loop
    assert loop is not None

    async def outcome() -> type[Exception] | None:
        with ThreadPoolExecutor(1) as thread:
            try:
                await loop.run_in_executor(thread, repository.get_model, str(exact))
            except Exception as error:
                return type(error)
        return None

    try:
        assert await outcome() is SignatureMissing
        (tmp_path / "7.skops.sig").write_bytes(Signer(signers.theirs.private).sign(ARTIFACT))
        assert await outcome() is SignatureUntrusted
        assert loads.loaded == []
        trusted.append(Trust(keys=(signers.theirs.pem,)))
        assert await outcome() is WorkersUnavailable
        assert loads.loaded == [path.as_uri()]
        (worker,) = pool.workers
        own_bytes = usage.own_bytes(worker.pid) - worker.at_first_bytes
        print(f"the library takes {own_bytes / 2**20:.0f} MiB of the worker that verifies")
    finally:
        pool.close()


def test_the_commands_sign_and_verify_files_and_objects(
    signers: Signers, tmp_path: Path, s3: S3Server, s3_bucket: str
) -> None:
    path = tmp_path / "a model.joblib"
    joblib.dump(Ridge().fit([[0.0], [1.0]], [1.0, 3.0]), path)
    s3.client().put_object(Bucket=s3_bucket, Key="a b/7.joblib", Body=path.read_bytes())
    names = [str(path), path.as_uri(), f"s3://{s3_bucket}/a b/7.joblib"]
    key = ["--key", str(signers.ours.private)]

    def run(*args: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, args, standalone_mode=False, catch_exceptions=False)
        return int(done.return_value or 0), done.output

    public = ["--key", str(signers.ours.public)]
    status, said = run("verify", *names, *public)
    assert (status, said.count("SignatureMissing")) == (1, 3)
    assert run("sign", *names[1:], *key)[0] == 0
    status, said = run("verify", *names, *public)
    assert (status, said.replace("\n", "").count("signed by key")) == (0, 3)
    status, said = run("verify", names[0], "--key", str(signers.theirs.public))
    assert (status, "SignatureUntrusted" in said) == (1, True)


def test_publish_stores_the_signature_beside_the_artifact(signers: Signers, tmp_path: Path) -> None:
    fitted = Ridge().fit([[0.0], [1.0]], [1.0, 3.0])
    declared = publish(fitted, user_id="ann", to=tmp_path, sign=signers.ours.private)
    path = Path(declared.spec.model.uri.removeprefix("file://"))
    data, signature = path.read_bytes(), Path(f"{path}.sig").read_bytes()
    assert check("x", hashlib.sha256(data).hexdigest(), signature, trust(signers)).startswith("key ")

"""Whom a server trusts: read from files, followed, and never less than it could read."""

from pathlib import Path

import pytest

from tenantry.errors import InvalidSetting
from tenantry_server.settings import ServerSettings
from tenantry_server.signing.trust import FollowedTrust, Trust, TrustSource
from tenantry_server.supply import trust_of


def pem(text: str, kind: str = "PUBLIC KEY") -> str:
    return f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----"


def test_files_and_folders_hold_any_number(tmp_path: Path) -> None:
    """A volume of Kubernetes has hidden folders and links; notes around a key do no harm."""
    keys = tmp_path / "keys"
    (keys / "..data").mkdir(parents=True)
    (keys / "b.pub").write_text(f"of the release job\n{pem('b')}\n{pem('c')}")
    (keys / "a.pub").write_text(pem("a"))
    (keys / ".hidden").write_text("nothing")
    alone = tmp_path / "alone.pub"
    alone.write_text(pem("a"))
    authority = tmp_path / "ca.crt"
    authority.write_text(pem("d", "CERTIFICATE"))
    read = TrustSource(keys=f"{keys}:{alone}", certificates=str(authority)).read()
    assert read == Trust((pem("a"), pem("b"), pem("c")), (pem("d", "CERTIFICATE"),))
    assert Trust.of_json({**read.to_json(), "identities": []}) == read


def test_identities_are_pairs(tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    root.write_text("{}")
    read = TrustSource(sigstore=root, identities="a@b https://i, c https://j").read()
    assert (read.identities, read.anybody) == ((("a@b", "https://i"), ("c", "https://j")), True)
    assert not TrustSource(identities="a@b https://i").read().anybody


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"keys": "{}/none.pub"}, "TENANTRY_SIGNATURE_KEYS: .*none.pub can't be read: No such file"),
        ({"keys": "{}/key.crt"}, "TENANTRY_SIGNATURE_KEYS: .*key.crt holds no public key"),
        ({"certificates": "{}/key.pub"}, "TENANTRY_SIGNATURE_CERTIFICATES: .*key.pub holds no certificate"),
        ({"sigstore": "{}/key.pub"}, "TENANTRY_SIGNATURE_IDENTITIES: who may sign"),
        ({"identities": "a b c"}, "expected 'IDENTITY ISSUER', got 'a b c'"),
    ],
)
def test_what_can_not_be_meant_is_refused(given: dict[str, str], words: str, tmp_path: Path) -> None:
    """A private key in the wrong place is not trusted either."""
    (tmp_path / "key.crt").write_text(pem("x", "EC PRIVATE KEY"))
    (tmp_path / "key.pub").write_text(pem("x"))
    filled = {name: value.format(tmp_path) for name, value in given.items()}
    sigstore = filled.pop("sigstore", None)
    with pytest.raises(InvalidSetting, match=words):
        TrustSource(**filled, sigstore=None if sigstore is None else Path(sigstore)).read()


async def test_changes_are_followed_and_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    file, heard = tmp_path / "keys.pub", list[bool]()
    file.write_text(pem("a"))
    trust = FollowedTrust(TrustSource(keys=str(file)))
    trust.changed = heard.append
    await trust.read_again()
    assert heard == []
    file.write_text(pem("b") + pem("a"))
    await trust.read_again()
    file.unlink()
    await trust.read_again()
    assert (heard, trust.now.keys) == ([False], (pem("b"), pem("a")))
    file.write_text(pem("b"))
    await trust.read_again()
    assert (heard, trust.now.keys) == ([False, True], (pem("b"),))


def test_a_server_that_could_verify_nothing_does_not_start(tmp_path: Path) -> None:
    """The environment for development lacks the library."""
    with pytest.raises(InvalidSetting, match="no signer is trusted; set TENANTRY_SIGNATURE_KEYS"):
        trust_of(ServerSettings.load(signatures="required"))
    key = tmp_path / "key.pub"
    key.write_text(pem("a"))
    with pytest.raises(InvalidSetting, match=r"without model_signing, OpenSSL: pip install 'tenantry"):
        trust_of(ServerSettings.load(signature_keys=str(key)))
    assert not trust_of(ServerSettings.load()).now.anybody

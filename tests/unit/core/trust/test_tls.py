"""Certificates of a process: what is refused at the start, and when changed files are in force."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from tenantry.errors import InvalidSetting
from tenantry.settings import CommonSettings
from tenantry.trust import tls
from tenantry.trust.certificates import Contexts, Files
from tenantry.trust.tls import Mode, Tls
from tests.support.network.certificates import Authority, MountedSecret, Pair, environment

CA = Authority()


def files_in(folder: Path, *, ca: bool = True) -> Files:
    return Files(folder / "tls.crt", folder / "tls.key", folder / "ca.crt" if ca else None)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def other_key() -> Pair:
    return Pair(CA.issue().cert, CA.issue().key)


REFUSED: dict[str, tuple[Callable[[], Pair], str]] = {
    "mismatched": (other_key, "the key is not the one of the certificate"),
    "expired": (lambda: CA.issue(from_days=-9, days=5), "expired on"),
    "early": (lambda: CA.issue(from_days=2), "is not valid before"),
    "empty": (lambda: Pair(b"", b""), "not a certificate and its key in PEM"),
    "half": (lambda: Pair(CA.issue().cert[:200], CA.issue().key), "not a certificate and its key in PEM"),
    "passphrase": (lambda: CA.issue(passphrase=b"secret"), "has a passphrase"),
    "another CA's": (lambda: Authority().issue(), "has to be signed by TENANTRY_TLS_CA"),
    "no client": (
        lambda: CA.issue(usages=[ExtendedKeyUsageOID.SERVER_AUTH]),
        "for the usages server auth and client auth",
    ),
    "no server": (
        lambda: CA.issue(usages=[ExtendedKeyUsageOID.CLIENT_AUTH]),
        "is not usable for a server",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_start_with_it_is_an_error_that_names_the_file(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = REFUSED[case]
    make().write(tmp_path, CA)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=words) as refused:
        tls.of_settings(CommonSettings.load())
    assert str(tmp_path) in str(refused.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"TENANTRY_TLS_CERT=.*No such file"):
        Tls(files_in(tmp_path, ca=False))
    with pytest.raises(InvalidSetting, match=r"TENANTRY_TLS_CA=.*No such file"):
        tls.trusting(tmp_path / "ca.crt")
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(InvalidSetting, match="TENANTRY_TLS_CA="):
        tls.trusting(tmp_path / "ca.crt")


def test_certificate_and_key_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_TLS_CERT", str(tmp_path / "tls.crt"))
    with pytest.raises(InvalidSetting, match="set both, or neither"):
        tls.of_settings(CommonSettings.load())


def test_a_swapped_link_brings_the_next_connection_the_new_certificate(tmp_path: Path) -> None:
    """The files' own times and sizes do not change with it."""
    secret = MountedSecret(tmp_path / "tls")
    secret.put(CA.issue(), CA)
    secured = Tls(files_in(secret.folder))
    before = secured.server(), secured.client()
    assert (secured.server(), secured.client()) == before, "nothing is read again without a change"
    secret.put(CA.issue(), CA)
    assert secured.server() is not before[0]
    assert secured.client() is not before[1]


def test_broken_files_are_logged_once_and_the_former_stay_in_force(tmp_path: Path) -> None:
    pair = CA.issue()
    pair.write(tmp_path, CA)
    clock = Clock()
    secured = Tls(files_in(tmp_path), clock_s=clock)
    former = secured.server()
    renewed = CA.issue()
    with capture_logs() as lines:
        (tmp_path / "tls.crt").write_bytes(renewed.cert)  # the key follows later
        for _ in range(5):
            assert secured.server() is former
            clock.now_s += 10
        assert [line["log_level"] for line in lines] == ["warning"]
        assert "the key is not the one of the certificate" in lines[0]["error"]
        (tmp_path / "tls.key").write_bytes(renewed.key)
        assert secured.server() is not former
        assert [line["event"] for line in lines[1:]] == ["certificates read"]


def test_an_expired_renewal_does_not_replace_what_holds(tmp_path: Path) -> None:
    CA.issue().write(tmp_path, CA)
    secured = Tls(files_in(tmp_path))
    former = secured.server()
    CA.issue(from_days=-9, days=5).write(tmp_path, CA)
    with capture_logs() as lines:
        assert secured.server() is former
    assert "expired on" in lines[0]["error"]


def test_what_could_not_be_read_is_tried_again_without_another_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that had no answer for a moment must not cost the renewal."""
    CA.issue().write(tmp_path, CA)
    clock = Clock()
    secured = Tls(files_in(tmp_path), clock_s=clock)
    former = secured.server()
    CA.issue().write(tmp_path, CA)

    def fails(_files: Files) -> Contexts:
        raise InvalidSetting("no answer")

    with monkeypatch.context() as failing:
        failing.setattr(tls, "read", fails)
        assert secured.server() is former
    assert secured.server() is former, "not for each connection"
    clock.now_s += 1
    assert secured.server() is not former


@pytest.mark.parametrize(
    ("mode", "ca", "required", "wants", "http"),
    [
        (Mode.REQUIRED, True, True, True, True),
        (Mode.REQUIRED, False, True, False, True),
        (Mode.OPTIONAL, True, False, False, False),
    ],
)
def test_what_is_asked_of_others(
    mode: Mode, *, ca: bool, required: bool, wants: bool, http: bool, tmp_path: Path
) -> None:
    """Where TLS is required, no request to a server goes in the clear, whatever a row says."""
    CA.issue().write(tmp_path, CA)
    secured = Tls(files_in(tmp_path, ca=ca), mode)
    assert (secured.required, secured.wants_certificates) == (required, wants)
    assert secured.secures("https")
    assert secured.secures("http") is http


def test_without_files_addresses_decide() -> None:
    assert not Tls().serves
    assert not Tls().secures("http")
    assert Tls().secures("https")


def test_the_end_of_the_certificate_in_force_can_be_watched(tmp_path: Path) -> None:
    CA.issue(days=10).write(tmp_path, CA)
    secured = Tls(files_in(tmp_path))
    assert secured.expires_s == pytest.approx(time.time() + 10 * 86_400, abs=7200)
    CA.issue(days=20).write(tmp_path, CA)
    secured.server()  # a connection: files are read again then
    assert secured.expires_s == pytest.approx(time.time() + 20 * 86_400, abs=7200)
    assert Tls(Files(ca=tmp_path / "ca.crt")).expires_s == float("inf")

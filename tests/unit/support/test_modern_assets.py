"""Where a modern server of CRDs comes from, and what is said where there is none."""

from pathlib import Path

import pytest

from tests.support.kubernetes.binaries import envtest_assets, modern_assets, modern_build
from tests.support.kubernetes.binaries.envtest_build import BuildFailed
from tests.support.kubernetes.modern_plane import ModernPlane


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tenantry" / "apiextensions"


def _core(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envtest_assets, "server_version", lambda _: version)


def test_a_core_that_is_new_enough_needs_no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    _core("v1.34.0", monkeypatch)
    plane = modern_assets.plane(Path("assets"))
    assert not isinstance(plane, ModernPlane)


def test_below_an_older_core_it_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was built is found again by every checkout."""
    _core("v1.20.2", monkeypatch)
    built: list[Path] = []

    def build(work: Path, into: Path, *, log: Path) -> None:
        assert not any(work.iterdir())
        assert log.parent == cache
        built.append(work)
        (into / modern_build.BINARY).touch()
        (into / "version").write_text("1.36.4")

    monkeypatch.setattr(modern_build, "build", build)
    for _ in range(2):
        assert modern_assets.plane(Path("assets")).crd_version_info == (1, 36)
    assert len(built) == 1
    assert not built[0].exists(), "what it took is gone"


def test_a_build_that_failed_is_explained_and_not_tried_again_today(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine minutes each time would be the price of a mirror that moved."""
    _core("v1.20.2", monkeypatch)
    tries: list[Path] = []

    def build(work: Path, into: Path, *, log: Path) -> None:
        tries.append(work)
        raise BuildFailed("unstable is out of reach")

    monkeypatch.setattr(modern_build, "build", build)
    for again in ("", "Remove .*refusal to try again"):
        with pytest.raises(
            modern_assets.ModernUnavailable, match=rf"(?s)unstable is out of reach.*{again}"
        ):
            modern_assets.plane(Path("assets"))
    assert len(tries) == 1
    monkeypatch.setattr(modern_assets, "AGAIN_S", 0.0)
    with pytest.raises(modern_assets.ModernUnavailable):
        modern_assets.plane(Path("assets"))
    assert len(tries) == 2
    assert not list(cache.glob("work-*"))

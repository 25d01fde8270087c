"""Where artifacts in files may lie: below a root, whatever links and names say."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tenantry import errors
from tenantry.stores.file_roots import ANYWHERE, FileRoots


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A folder that artifacts may come from, beside one with a secret."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "ann").write_text("a model")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("a secret")
    return tmp_path / "inside"


def read(roots: FileRoots, path: Path | str) -> str:
    with roots.open(f"file://{path}") as file:
        return file.read().decode()


def test_a_file_below_a_root_is_opened_by_name_and_by_links_that_stay_inside(inside: Path) -> None:
    (inside / "latest").symlink_to(inside / "ann")
    (inside / "relative").symlink_to("ann")
    (inside.parent / "way").symlink_to(inside)  # a root may itself be a link
    for roots in (FileRoots([inside]), FileRoots([inside.parent / "way"]), ANYWHERE):
        for name in ("ann", "latest", "relative"):
            assert read(roots, inside / name) == "a model"
    assert read(FileRoots([inside.parent / "way"]), inside.parent / "way" / "ann") == "a model"


WAYS_OUT: dict[str, Callable[[Path], str]] = {
    "a path": lambda inside: f"{inside.parent}/outside/secret",
    "dots": lambda inside: f"{inside}/../outside/secret",
    "quoted dots": lambda inside: f"{inside}/%2e%2e/outside/secret",
    "a link": lambda inside: f"{inside}/link",
    "a link to a folder": lambda inside: f"{inside}/folder/secret",
    "a name that begins alike": lambda inside: f"{inside}-not/secret",
    "procfs": lambda _inside: "/proc/self/pagemap",
    "by a descriptor": lambda _inside: "/proc/self/cwd/secret",
}


@pytest.mark.parametrize("way", WAYS_OUT.values(), ids=WAYS_OUT)
def test_what_lies_outside_is_refused_in_the_same_words_whether_or_not_it_exists(
    inside: Path, way: Callable[[Path], str]
) -> None:
    """Else a TenantModel could ask which files a server has."""
    (inside / "link").symlink_to(inside.parent / "outside" / "secret")
    (inside / "folder").symlink_to(inside.parent / "outside")
    uri = way(inside)
    with pytest.raises(errors.ArtifactOutsideRoots) as there:
        read(FileRoots([inside]), uri)
    (inside.parent / "outside" / "secret").unlink()
    (inside.parent / "outside").rmdir()
    with pytest.raises(errors.ArtifactOutsideRoots) as gone:
        read(FileRoots([inside]), uri)
    assert str(there.value) == str(gone.value)


def test_a_link_that_is_put_in_the_way_after_the_check_is_noticed(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def swapped(path: str, flags: int) -> int:
        monkeypatch.undo()
        (inside / "ann").unlink()
        (inside / "ann").symlink_to(inside.parent / "outside" / "secret")
        return opened(path, flags)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(errors.ArtifactOutsideRoots):
        read(FileRoots([inside]), inside / "ann")


def test_without_roots_nothing_is_opened(inside: Path) -> None:
    with pytest.raises(errors.ArtifactOutsideRoots, match=r"\(none\); publish it there"):
        read(FileRoots.parse(""), inside / "ann")


def test_a_setting_names_several(inside: Path) -> None:
    roots = FileRoots.parse(f"/srv/models:{inside}")
    assert read(roots, inside / "ann") == "a model"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("none", errors.ArtifactNotFound),
        ("ann/below", errors.ArtifactNotFound),
        ("pipe", errors.ArtifactInvalid),
        ("folder", errors.ArtifactInvalid),
        ("nul%00", errors.ArtifactInvalid),
        ("x" * 300, errors.ArtifactUnavailable),
        ("loop", errors.ArtifactUnavailable),
    ],
)
def test_what_can_t_be_opened_is_an_error_of_the_artifact(
    inside: Path, name: str, error: type[errors.ArtifactError]
) -> None:
    os.mkfifo(inside / "pipe")
    (inside / "folder").mkdir()
    (inside / "loop").symlink_to("loop")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(error):
        read(FileRoots([inside]), inside / name)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors

"""What only looks like a deletion: files and folders that are empty for a while, clocks that are set."""

import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tenantry_operator.folder.source import FolderSource
from tenantry_operator.folder.tree import SETTLE_S, SHRUNK_S
from tests.support.tenants.manifest_folder import Folder, by_name, claim_of, manifest, only

BOTH = manifest("ann") + "---\n" + manifest("bob")


def wait(folder: Folder, seconds: float) -> None:
    """Scan as often as the operator does for a minute, so that nothing hides; seldom after that."""
    began_s = folder.clock.now_s
    while folder.clock.now_s < began_s + seconds:
        folder.scan()
        folder.clock.now_s += 0.1 if folder.clock.now_s < began_s + 60 else 60.0


# Files


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_that_is_empty_keeps_its_tenants_however_long(folder: Folder, text: str) -> None:
    """Half a second between truncate and write once removed every one of them."""
    folder.write("a.yaml", BOTH)
    before = folder.scan()
    folder.write("a.yaml", text, age_s=0.0)
    wait(folder, SHRUNK_S - 0.1)
    assert folder.scan() is before
    wait(folder, 3600)
    held = folder.scan()
    assert held.declared.keys() == before.declared.keys()
    assert held.absent == frozenset()
    for declared in held.declared.values():
        assert str(declared.problem) == (
            f"{folder.path}/a.yaml: is empty; write its TenantModels again, "
            "or delete the file to remove them"
        )
    folder.write("a.yaml", BOTH, age_s=0.0)
    after = folder.scan()
    assert [declared.problem for declared in after.declared.values()] == [None, None]


def test_an_operator_that_starts_while_a_file_is_empty_keeps_its_tenants(folder: Folder) -> None:
    path = folder.write("a.yaml", BOTH)
    folder.write("b.yaml", manifest("cid"))
    before = folder.scan()
    path.write_text("")
    folder.restart([claim_of(declared) for declared in before.declared.values()])
    listing = folder.gone()
    assert (listing.declared.keys(), listing.absent) == (before.declared.keys(), frozenset())


def test_deleting_the_empty_file_removes_them(folder: Folder) -> None:
    path = folder.write("a.yaml", BOTH)
    folder.write("b.yaml", manifest("cid"))
    names = by_name(folder.scan())
    path.write_text("")
    folder.gone()
    path.unlink()
    assert folder.gone().absent == {names["ann"].uid, names["bob"].uid}


def test_an_empty_file_that_never_held_a_tenant_is_nothing(folder: Folder) -> None:
    folder.write("new.yaml", "")
    assert folder.gone().declared == {}


def test_a_file_that_is_written_piece_by_piece_loses_nobody(folder: Folder) -> None:
    """Each piece ends with a whole document, so that nothing looks broken."""
    folder.write("a.yaml", BOTH + "---\n" + manifest("cid"))
    before = folder.scan()
    for text in ("", manifest("ann"), BOTH, BOTH + "---\n" + manifest("cid")):
        folder.write("a.yaml", text, age_s=0.0)
        wait(folder, SHRUNK_S - 0.2)
        assert folder.scan() is before
    wait(folder, 60)
    assert folder.scan() is before


def test_a_tenant_that_is_cut_out_of_a_file_goes(folder: Folder) -> None:
    folder.write("a.yaml", BOTH)
    bob = by_name(folder.scan())["bob"]
    folder.write("a.yaml", manifest("ann"))
    assert folder.gone().absent == {bob.uid}
    assert set(by_name(folder.scan())) == {"ann"}


def test_one_that_is_replaced_in_place_does_not_wait(folder: Folder) -> None:
    """Only what would be lost does."""
    folder.write("a.yaml", BOTH)
    folder.scan()
    folder.write("a.yaml", BOTH.replace("a.joblib", "b.joblib") + "---\n" + manifest("cid"), age_s=0.0)
    names = by_name(folder.scan())
    assert (names["ann"].generation, names["bob"].generation, set(names)) == (2, 2, {"ann", "bob", "cid"})


# Folders


def everything_goes(folder: Folder) -> None:
    for path in folder.path.iterdir():
        path.unlink()


@pytest.mark.parametrize("restart", [False, True], ids=["seen before", "right after a restart"])
def test_a_folder_that_empties_removes_nobody_and_says_so_once(folder: Folder, *, restart: bool) -> None:
    """A volume that is not mounted, a checkout: up to 50 tenants were once removed."""
    folder.write("a.yaml", manifest("ann"))
    folder.write("b.yaml", manifest("bob"))
    before = folder.scan()
    everything_goes(folder)
    if restart:
        folder.restart([claim_of(declared) for declared in before.declared.values()])
    with capture_logs() as lines:
        wait(folder, 3600)
        assert folder.scan().absent == frozenset()
    (line,) = lines
    assert line["log_level"] == "error"
    assert line["event"].startswith("the folder of manifests is empty, so its tenants stay; if all of them")
    assert line["tenants"] == 2
    folder.write("a.yaml", manifest("ann"))
    folder.write("b.yaml", manifest("bob"))
    after = folder.gone()
    assert (after.declared, after.absent) == (before.declared, frozenset())


def test_any_manifest_file_that_is_left_shows_that_it_is_meant(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    folder.write("b.yaml", manifest("bob"))
    uids = folder.scan().declared.keys()
    everything_goes(folder)
    folder.gone()
    folder.write("none.yaml", "# nobody\n")
    assert folder.gone().absent == uids


def test_one_file_after_the_other_may_go_down_to_the_last(folder: Folder) -> None:
    paths = [folder.write(f"{name}.yaml", manifest(name)) for name in ("ann", "bob", "cid")]
    folder.scan()
    for gone, path in enumerate(paths, start=1):
        path.unlink()
        folder.scan()
        folder.clock.settle()
        assert len(folder.scan().absent) == gone


def test_the_last_one_stays_where_another_folder_took_the_place(folder: Folder, tmp_path: Path) -> None:
    """A volume with one tenant was unmounted: what lies below is another folder, and empty."""
    folder.write("a.yaml", manifest("ann"))
    before = folder.scan()
    folder.path.rename(tmp_path / "volume")
    folder.path.mkdir()
    assert folder.gone().absent == frozenset()
    folder.path.rmdir()
    (tmp_path / "volume").rename(folder.path)
    assert folder.gone().declared == before.declared


def test_with_leave_to_delete_many_an_empty_folder_is_one(folder: Folder) -> None:
    folder.write("a.yaml", BOTH)
    claims = [claim_of(declared) for declared in folder.scan().declared.values()]
    everything_goes(folder)
    steady = folder.steady
    folder.source = FolderSource(folder.path, claims, may_empty=True, steady_s=steady)
    assert len(folder.gone().absent) == 2


# Links


def ignored(lines: Any, folder: Folder) -> dict[str, str]:
    assert {line["event"] for line in lines} == {"ignored in the folder of manifests"}
    return {str(Path(line["path"]).relative_to(folder.path)): line["why"] for line in lines}


def test_a_linked_folder_inside_the_root_is_read(folder: Folder) -> None:
    """git-sync keeps a hidden worktree for each commit, and turns one link to the newest."""
    folder.write(".worktrees/1/sub/ann.yaml", manifest("ann"))
    folder.write(".worktrees/2/sub/ann.yaml", manifest("ann", uri="file:///models/b.joblib"))
    link = folder.path / "current"
    link.symlink_to(".worktrees/1")
    first = only(folder.scan())
    assert first.origin == "current/sub/ann.yaml"
    (folder.path / "new").symlink_to(".worktrees/2")
    (folder.path / "new").rename(link)
    second = only(folder.gone())
    assert (second.uid, second.generation, second.origin) == (first.uid, 2, first.origin)


def test_links_that_are_not_followed_are_named_once(folder: Folder, tmp_path: Path) -> None:
    folder.write("sub/ann.yaml", manifest("ann"))
    folder.write(".hidden/bob.yaml", manifest("bob"))
    for name, target in {
        "loop": ".",
        "up": "..",
        "out": str(tmp_path),
        "again": "sub",
        "one": ".hidden",
        "other": ".hidden",
        "sub/loop": "..",
        ".hidden/loop": ".",
        ".hidden/cross": "../sub",
        "self": "self",
    }.items():
        (folder.path / name).symlink_to(target)
    os.mkfifo(folder.path / "pipe.yaml")
    with capture_logs() as lines:
        names = by_name(folder.gone())
        wait(folder, 60)
    assert {name: declared.origin for name, declared in names.items()} == {
        "ann": "sub/ann.yaml",
        "bob": "one/bob.yaml",
    }
    assert len(lines) == 9
    assert ignored(lines, folder) == {
        "loop": "it leads to a folder that contains it",
        "up": "it leads to a folder that contains it",
        "out": "it leads to a folder that contains it",
        "sub/loop": "it leads to a folder that contains it",
        "again": "its files are read as sub/",
        "one/cross": "its files are read as sub/",
        "one/loop": "its files are read through another link",
        "other": "its files are read through another link",
        "pipe.yaml": "it is not a regular file",
    }


def test_a_link_out_of_the_root_is_ignored_with_a_word(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ann.yaml").write_text(manifest("ann"))
    (folder.path / "out").symlink_to(tmp_path / "elsewhere")
    with capture_logs() as lines:
        assert folder.scan().declared == {}
    assert ignored(lines, folder) == {"out": "it leads out of the folder of manifests"}


def test_a_link_that_leads_nowhere_for_a_while_keeps_its_tenants(folder: Folder) -> None:
    folder.write(".data/ann.yaml", manifest("ann"))
    folder.write("bob.yaml", manifest("bob"))
    (folder.path / "current").symlink_to(".data")
    before = folder.scan()
    (folder.path / ".data").rename(folder.path / ".away")
    wait(folder, 60)
    held = folder.scan()
    assert (held.declared.keys(), held.absent) == (before.declared.keys(), frozenset())
    ann = held.declared[by_name(before)["ann"].uid]
    assert str(ann.problem).endswith("current: its link leads nowhere")
    (folder.path / ".away").rename(folder.path / ".data")
    assert by_name(folder.gone())["ann"].problem is None


# Clocks


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_neither_delays_nor_hastens_a_deletion(folder: Folder, by_s: float) -> None:
    folder.write("b.yaml", manifest("bob"))
    path = folder.write("a.yaml", manifest("ann"))
    ann = by_name(folder.scan())["ann"]
    path.unlink()
    folder.scan()
    folder.clock.set_by(by_s)
    assert folder.scan().absent == frozenset()
    folder.clock.now_s += SETTLE_S - 0.1
    assert folder.scan().absent == frozenset()
    folder.clock.settle()
    assert folder.scan().absent == {ann.uid}


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_makes_no_half_saved_file_a_whole_one(folder: Folder, by_s: float) -> None:
    folder.write("a.yaml", manifest("ann"))
    before = folder.scan()
    folder.write("a.yaml", manifest("ann")[:-20], age_s=0.0)
    folder.clock.set_by(by_s)
    assert folder.scan() is before
    assert not folder.source.settled
    folder.clock.settle()
    assert only(folder.scan()).problem is not None

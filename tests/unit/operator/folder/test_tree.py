"""The files of a folder: what breaks, what is half saved, and what is not a manifest at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenantry.registry import Claim
from tenantry_operator.declared import Declaration
from tenantry_operator.folder import tree
from tests.support.tenants.manifest_folder import (
    LONG_AGO_S,
    Folder,
    by_name,
    claim_of,
    manifest,
    only,
)

# Files that break


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("spec: {"),
        lambda path: path.write_bytes(b"name: \xff"),
        lambda path: (path.unlink(), path.symlink_to(path.name)),  # a loop: open() says ELOOP
    ],
    ids=["syntax", "no text", "unreadable"],
)
@pytest.mark.parametrize("restart", [False, True], ids=["seen before", "right after a restart"])
def test_a_file_that_breaks_keeps_its_tenants(
    folder: Folder, damage: Callable[[Path], None], *, restart: bool
) -> None:
    """They go on serving, and say why nothing new is taken from their file."""
    path = folder.write("a.yaml", manifest("ann") + "---\n" + manifest("bob"))
    folder.write("c.yaml", manifest("cid"))
    before = folder.scan()
    damage(path)
    if not path.is_symlink():
        os.utime(path, (LONG_AGO_S - 1, LONG_AGO_S - 1))
    if restart:
        folder.restart([claim_of(declared) for declared in before.declared.values()])
    after = folder.gone()
    assert after.declared.keys() == before.declared.keys()
    assert after.absent == frozenset()
    for uid, declared in before.declared.items():
        if declared.name != "cid":
            assert after.declared[uid].model is None
            assert str(after.declared[uid].problem).startswith(str(path))
            assert after.declared[uid].generation == declared.generation + 1
    assert after.declared[by_name(before)["cid"].uid] == by_name(before)["cid"]
    again = folder.gone()
    assert again is after


def test_what_stands_before_the_break_is_read(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann") + "---\n" + manifest("bob"))
    before = by_name(folder.scan())
    folder.write("a.yaml", manifest("ann", uri="file:///models/b.joblib") + "---\nspec: {")
    after = folder.gone().declared
    assert after[before["ann"].uid].problem is None
    assert after[before["ann"].uid].generation == 2
    assert after[before["bob"].uid].problem is not None


def test_a_file_that_never_was_right_is_listed_by_its_own_name(folder: Folder) -> None:
    """So that `tenantry get` shows it; mended, it is gone."""
    folder.write("a.yaml", "spec: {")
    broken = only(folder.scan())
    assert (broken.name, broken.origin, broken.model) == ("a.yaml", "a.yaml", None)
    folder.write("a.yaml", manifest("ann"))
    listing = folder.gone()
    assert only(listing).name == "ann"
    assert listing.absent == {broken.uid}


def test_what_was_deleted_before_a_file_broke_stays_deleted(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann") + "---\n" + manifest("bob"))
    bob = by_name(folder.scan())["bob"]
    folder.write("a.yaml", manifest("ann"))
    assert folder.gone().absent == {bob.uid}
    folder.write("a.yaml", "spec: {")
    listing = folder.gone()
    assert bob.uid not in listing.declared
    assert bob.uid in listing.absent


def test_a_file_that_is_half_saved_is_read_again(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    before = folder.scan()
    folder.write("a.yaml", manifest("ann")[:-20], age_s=0.0)
    assert folder.scan() is before
    assert not folder.source.settled
    folder.clock.settle()
    assert only(folder.scan()).problem is not None


def test_a_time_in_the_future_hides_no_broken_file(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    folder.scan()
    folder.write("a.yaml", "spec: {", age_s=-3600.0)
    assert only(folder.gone()).problem is not None


def test_a_second_change_within_one_tick_of_the_clock_is_seen(folder: Folder) -> None:
    """Same size, same time, same inode: git calls such a file racily clean."""
    path = folder.write("a.yaml", manifest("ann", uri="file:///models/1.joblib"), age_s=0.0)
    stamp = path.stat().st_mtime_ns
    folder.scan()
    path.write_text(manifest("ann", uri="file:///models/2.joblib"))
    os.utime(path, ns=(stamp, stamp))
    declared = only(folder.scan())
    assert declared.model is not None
    assert declared.model.spec.model.uri == "file:///models/2.joblib"
    folder.clock.settle()
    folder.scan()
    assert folder.source.settled


# What the folder holds


def test_subfolders_are_read_and_hidden_ones_are_not(folder: Folder) -> None:
    folder.write("a/b/c/ann.yml", manifest("ann"))
    folder.write(
        "bob.json",
        '{"apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantModel", "metadata": '
        '{"name": "bob"}, "spec": {"userId": "bob", "model": {"uri": "s3://models/bob"}}}',
    )
    for hidden in (".git/x.yaml", ".x.yaml", "a/.x.yaml", "x.yaml~", "x.yaml.swp", "x.txt", "yaml"):
        folder.write(hidden, manifest("hidden"))
    assert {d.origin for d in folder.scan().declared.values()} == {"a/b/c/ann.yml", "bob.json"}


def test_files_come_in_the_same_order_everywhere(folder: Folder) -> None:
    """Which of two documents of one name stands must not depend on the file system."""
    for name in ("z.yaml", "b/a.yaml", "a.yaml", "a/z.yaml", "a/b/a.yaml"):
        folder.write(name, manifest("x" + name.replace("/", "-")))
    origins = [declared.origin for declared in folder.scan().declared.values()]
    assert origins == ["a.yaml", "z.yaml", "a/z.yaml", "a/b/a.yaml", "b/a.yaml"]


def test_a_folder_that_vanishes_says_nothing_about_its_tenants(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    before = folder.scan()
    away = folder.path.rename(folder.path.with_name("away"))
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            folder.scan()
        folder.clock.settle()
    away.rename(folder.path)
    assert folder.scan() is before


def test_a_folder_that_became_a_file(folder: Folder) -> None:
    folder.path.rmdir()
    folder.path.write_text("")
    with pytest.raises(NotADirectoryError):
        folder.scan()


def test_a_subfolder_that_cannot_be_listed_holds_up_no_other(folder: Folder) -> None:
    """Its own tenants stay and say why; here its path is longer than the system takes."""
    name = "d" * 250
    folder.write("ann.yaml", manifest("ann"))
    lost = folder.write(f"{name}/bob.yaml", manifest("bob"))
    before = by_name(folder.scan())
    lost.unlink()
    _too_deep(folder.path / name)
    folder.write("cid.yaml", manifest("cid"))
    folder.restart([claim_of(declared) for declared in before.values()])
    after = folder.gone()
    assert by_name(after)["cid"].problem is None
    assert after.declared[before["ann"].uid] == before["ann"]
    told = [d for d in after.declared.values() if d.problem is not None]
    assert [str(d.problem).endswith("File name too long") for d in told] == [True]
    assert after.absent == {before["bob"].uid}  # its folder could be listed
    assert len(told[0].origin) > 3000


def _too_deep(path: Path) -> None:
    """Folders in folders, one longer than a path can be; each made from within its parent."""
    at = os.open(path, os.O_RDONLY)
    for _ in range(4096 // 250 + 1):
        os.mkdir("e" * 250, dir_fd=at)
        below = os.open("e" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def test_tenants_below_a_folder_that_cannot_be_listed_are_kept(folder: Folder) -> None:
    folder.write("sub/a.yaml", manifest("ann"))
    before = only(folder.scan())
    folder.restart([claim_of(before)])
    refused = folder.source._held({})
    problem = tree._unreadable(None, "sub/", PermissionError(13, "Permission denied")).content.broken
    assert problem is not None
    declared: dict[str, Declaration] = {}
    folder.source._keep(declared, refused, "sub/", problem, folder.clock.now_s)
    assert declared[before.uid].origin == "sub/a.yaml"
    assert str(declared[before.uid].problem) == "sub/: Permission denied"


def test_links_to_files_are_followed_and_loops_are_not(folder: Folder) -> None:
    """A ConfigMap's files are links through a hidden folder."""
    folder.write("..data/ann.yaml", manifest("ann"))
    (folder.path / "ann.yaml").symlink_to("..data/ann.yaml")
    (folder.path / "loop").symlink_to(".")
    (folder.path / "loop.yaml").symlink_to(".")
    (folder.path / "dangling.yaml").symlink_to("nowhere")
    declared = only(folder.scan())
    assert (declared.name, declared.origin) == ("ann", "ann.yaml")
    folder.write("..data2/ann.yaml", manifest("ann", uri="file:///models/b.joblib"))
    (folder.path / "ann.yaml").unlink()
    (folder.path / "ann.yaml").symlink_to("..data2/ann.yaml")
    assert only(folder.scan()).generation == 2


def test_pipes_and_folders_with_a_manifests_name_are_left_alone(folder: Folder) -> None:
    """Opening a pipe would wait forever."""
    os.mkfifo(folder.path / "pipe.yaml")
    (folder.path / "folder.yaml").mkdir()
    assert folder.scan().declared == {}


def test_a_file_name_may_be_any_bytes(folder: Folder) -> None:
    """What is listed can be stored, whatever bytes a file is named with."""
    folder.write(os.fsdecode(b"\xff.yaml"), manifest("ann") + "---\n" + manifest("ann"))
    folder.write(os.fsdecode(b"\xfe.yaml"), "spec: {")
    for declared in folder.scan().declared.values():
        assert declared.origin.encode()
        assert declared.name.encode()
        assert str(declared.problem).encode()


def test_many_broken_files_among_many_tenants_take_no_time(folder: Folder) -> None:
    """Each was once compared with every tenant that ever was."""
    claims = [
        Claim(f"uid-{n}", "default", f"t{n}", f"t{n}", 0.0, 1, {"userId": f"t{n}"}, origin=f"t{n}.yaml")
        for n in range(3000)
    ]
    for n in range(3000):
        folder.write(f"t{n}.yaml", "spec: {")
    folder.restart(claims)
    folder.scan()
    looked: list[str] = []

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            looked.append("all")
            return super().items()

    folder.source._known = Watched(folder.source._known)
    folder.write("t0.yaml", manifest("t0"))
    assert len(folder.scan().declared) == 3000
    assert len(looked) < 5

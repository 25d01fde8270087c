"""A folder of manifests as a source of truth: identities, generations, and what counts as deleted."""

import pytest

from tenantry.manifest.status import State, Status
from tenantry_operator.declared import Listing
from tenantry_operator.folder.tree import SETTLE_S
from tests.support.tenants.manifest_folder import LONG_AGO_S, Folder, by_name, claim_of, manifest, only

# Identity and generations


def test_a_document_is_known_by_its_namespace_and_name(folder: Folder) -> None:
    """So it stays the same over restarts, in another file, and at another place in it."""
    folder.write("a.yaml", manifest("ann"))
    before = only(folder.scan())
    folder.restart()
    assert only(folder.scan()).uid == before.uid
    other = manifest("ann").replace("name: ann", "name: ann, namespace: other")
    folder.write("a.yaml", other)
    folder.restart()
    assert only(folder.scan()).uid != before.uid


def test_a_new_document(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    declared = only(folder.scan())
    assert (declared.namespace, declared.name, declared.origin) == ("default", "ann", "a.yaml")
    assert declared.generation == 1
    assert declared.created_at == pytest.approx(LONG_AGO_S, abs=1)
    assert declared.model is not None


def test_the_generation_grows_with_the_spec_and_with_nothing_else(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    before = only(folder.scan())
    folder.write(
        "a.yaml", "# a comment\n" + manifest("ann").replace("name: ann", "name: ann, labels: {a: b}")
    )
    assert only(folder.scan()) == before
    folder.write("a.yaml", manifest("ann", uri="file:///models/b.joblib"))
    after = only(folder.scan())
    assert (after.generation, after.created_at) == (2, before.created_at)


def test_without_a_change_the_listing_is_the_same_object(folder: Folder) -> None:
    """The operator need not compare 10,000 tenants twice a second."""
    folder.write("a.yaml", manifest("ann"))
    folder.write("b.yaml", manifest("bob"))
    first = folder.scan()
    assert folder.scan() is first
    folder.write("b.yaml", manifest("bob", uri="file:///models/b.joblib"))
    second = folder.scan()
    assert second is not first
    assert by_name(second)["ann"] is by_name(first)["ann"]


def test_a_restart_changes_nothing(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    folder.write("a.yaml", manifest("ann", uri="file:///models/b.joblib"))
    before = only(folder.scan())
    folder.clock.now_s += 3600
    folder.restart([claim_of(before)])
    after = folder.scan()
    assert only(after) == before
    assert after.absent == frozenset()


def test_a_restart_gives_an_invalid_document_no_new_generation(folder: Folder) -> None:
    """Its status would change with every restart."""
    folder.write("a.yaml", manifest("ann", user="b b"))
    before = only(folder.scan())
    serving = "file:///m.joblib#sha256=abcdefgh"
    problem = str(before.problem)
    folder.restart(
        [claim_of(before, Status(State.STALLED, "InvalidManifest", problem, 1, serving, keeps=True))]
    )
    assert only(folder.scan()).generation == before.generation == 1


def test_an_invalid_document_keeps_its_identity_and_gets_a_generation(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    good = only(folder.scan())
    folder.write("a.yaml", manifest("ann", user="b b"))
    bad = only(folder.scan())
    assert (bad.uid, bad.generation, bad.model) == (good.uid, 2, None)
    assert str(bad.problem).startswith(f"{folder.path}/a.yaml:4: spec.userId")
    folder.write("a.yaml", manifest("ann"))
    assert (only(folder.scan()).generation, only(folder.scan()).problem) == (3, None)


def test_a_document_without_a_name_is_known_by_its_place(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann") + "---\n" + manifest("bob").replace("name: bob", ""))
    assert set(by_name(folder.scan())) == {"ann", "a.yaml#2"}


# Deleted, moved, declared twice


def test_nothing_is_gone_at_first_sight(folder: Folder) -> None:
    """However long ago it was seen last: an editor may be between its two steps right now."""
    path = folder.write("a.yaml", manifest("ann"))
    declared = only(folder.scan())
    folder.clock.now_s += 3600
    path.unlink()
    assert folder.scan() == Listing({}, complete=True)
    folder.clock.now_s += SETTLE_S / 2
    assert folder.scan().absent == frozenset()
    folder.clock.settle()
    assert folder.scan() == Listing({}, frozenset({declared.uid}), complete=True)


def test_a_file_that_comes_back_in_time_was_never_gone(folder: Folder) -> None:
    path = folder.write("a.yaml", manifest("ann"))
    before = only(folder.scan())
    path.unlink()
    folder.scan()
    folder.clock.now_s += SETTLE_S / 2
    folder.write("a.yaml", manifest("ann"))
    assert only(folder.scan()) == before
    folder.clock.now_s += SETTLE_S * 0.6
    path.unlink()
    assert folder.scan().absent == frozenset()


def test_a_tenant_whose_file_went_while_the_operator_was_down(folder: Folder) -> None:
    path = folder.write("a.yaml", manifest("ann"))
    before = only(folder.scan())
    path.unlink()
    folder.restart([claim_of(before)])
    assert folder.scan().absent == frozenset()
    folder.clock.settle()
    assert folder.scan().absent == {before.uid}


def test_a_document_deleted_and_declared_again_is_younger(folder: Folder) -> None:
    """The next TenantModel of the same user has taken its place."""
    path = folder.write("a.yaml", manifest("ann"))
    before = only(folder.scan())
    path.unlink()
    assert folder.gone().absent == {before.uid}
    folder.clock.now_s += 60
    folder.write("a.yaml", manifest("ann"))
    after = folder.scan()
    assert only(after).uid == before.uid
    assert only(after).created_at > before.created_at + 60
    assert after.absent == frozenset()


def test_a_document_that_moves_to_another_file_stays_the_same(folder: Folder) -> None:
    path = folder.write("a.yaml", manifest("ann"))
    before = only(folder.scan())
    path.unlink()
    folder.scan()
    folder.write("sub/b.yaml", manifest("bob") + "---\n" + manifest("ann"))
    after = by_name(folder.gone())["ann"]
    assert (after.uid, after.generation, after.created_at) == (before.uid, 1, before.created_at)
    assert after.origin == "sub/b.yaml"


def test_a_name_declared_twice_is_reported_and_the_first_one_stands(folder: Folder) -> None:
    folder.write("a.yaml", manifest("ann"))
    folder.write("b.yaml", manifest("ann", uri="file:///models/other.joblib"))
    names = by_name(folder.scan())
    assert set(names) == {"ann", "ann (b.yaml#1)"}
    assert names["ann"].problem is None
    assert str(names["ann (b.yaml#1)"].problem) == (
        f"{folder.path}/b.yaml: default/ann is also declared in {folder.path}/a.yaml; "
        "give one of them another metadata.name"
    )
    (folder.path / "b.yaml").unlink()
    listing = folder.gone()
    assert set(by_name(listing)) == {"ann"}
    assert len(listing.absent) == 1

"""Policies from a file: read whole or not at all, and followed."""

import threading
from pathlib import Path

import pytest

from tenantry.errors import InvalidManifest
from tenantry_operator.folder import policy_file
from tenantry_operator.policies.rules import Policies
from tests.support.waiting import until

GOOD = """
apiVersion: tenantry.dev/v1alpha1
kind: TenantPolicy
metadata: {name: teams}
spec:
  userIds: ['${namespace}.*']
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policies.yaml"
    path.write_text(GOOD)
    return path


def test_a_file_holds_several_and_each_namespace_its_name(path: Path) -> None:
    path.write_text(f"{GOOD}---\n{GOOD.replace('teams', 'others')}")
    found = policy_file.read(path)
    assert found.names == ["others", "teams"]
    assert found.know("anything")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace("userIds", "users"), "document 1: spec.users"),
        (f"{GOOD}---\n{GOOD}", "document 2: 'teams' is declared twice"),
        ("{", "not YAML"),
        ("- 1", "document 1"),
    ],
)
def test_a_mistake_is_named_with_its_place(path: Path, text: str, problem: str) -> None:
    path.write_text(text)
    with pytest.raises(InvalidManifest, match=problem):
        policy_file.read(path)


def test_a_change_is_followed_and_a_mistake_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_file, "_CHECK_EVERY_S", 0.01)
    seen: list[Policies] = []
    stop = threading.Event()
    thread = threading.Thread(target=policy_file.follow, args=(path, seen.append, stop))
    thread.start()
    try:
        until(lambda: seen, "the first policies")
        path.write_text("{")
        path.unlink()
        path.write_text(GOOD.replace("teams", "later"))
        until(lambda: seen[-1].names == ["later"], "the change")
        assert {name for each in seen for name in each.names} == {"teams", "later"}
    finally:
        stop.set()
        thread.join()

"""The lock of an installation: `requirements.lock` holds all that `tenantry[all]` needs, pinned and hashed.

Checked without a network, by what is installed here; `make lock` writes it again.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
_ENTRY = re.compile(
    r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; ([^\\]+?))? \\\n((?: +--hash=[^\n]+\n)+)", re.MULTILINE
)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}( \\)?")
TEXT = (ROOT / "requirements.lock").read_text()
LOCKED = {canonicalize_name(name): Version(version) for name, version, _, _ in _ENTRY.findall(TEXT)}
AGAIN = "write it again with `make lock`"


def pinned() -> dict[str, Version]:
    """What constraints.txt says."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.partition(";")[0].split("==") for line in lines if "==" in line)
    return {canonicalize_name(name.strip()): Version(version.strip()) for name, version in pairs}


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> set[str]:
    """The names of everything that an installation of `name` brings here."""
    found: set[str] = set()
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        for extra in extras | {""}:
            if marker is not None and not marker.evaluate({"extra": extra}):
                continue
            wanted = canonicalize_name(requirement.name)
            key = (wanted, ",".join(sorted(requirement.extras)))
            if key not in seen:
                seen.add(key)
                found |= {wanted} | needed(wanted, frozenset(requirement.extras), seen)
    return found


def test_each_line_of_the_lock_is_read() -> None:
    assert len(LOCKED) == len(re.findall(r"^[A-Za-z0-9]", TEXT, re.MULTILINE)) > 50


def test_each_entry_has_hashes_and_nothing_weaker() -> None:
    for name, _, _, hashes in _ENTRY.findall(TEXT):
        lines = [line.strip() for line in hashes.strip().splitlines()]
        assert lines, name
        assert all(_HASH.fullmatch(line) for line in lines), name


def test_the_lock_and_the_constraints_agree() -> None:
    known = pinned()
    assert {name: known.get(name, version) for name, version in LOCKED.items()} == LOCKED, AGAIN


def test_the_lock_holds_all_that_an_installation_needs() -> None:
    everything = needed("tenantry", frozenset({"all"}), set()) - {"tenantry"}
    assert everything - LOCKED.keys() == set(), AGAIN
    if sys.version_info[:2] == (3, 11):  # others need no backports
        assert "numpy" in everything


def test_the_lock_satisfies_the_project() -> None:
    for text in metadata.requires("tenantry") or ():
        requirement = Requirement(text)
        version = LOCKED.get(canonicalize_name(requirement.name))
        if version is not None:
            assert requirement.specifier.contains(version, prereleases=True), AGAIN

"""Fixtures of these tests."""

from pathlib import Path

import pytest

from tests.support.tenants.manifest_folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "manifests")

"""Artifacts in files: their size is judged by what is read, as a file may change meanwhile."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenantry import ModelId
from tenantry.errors import ArtifactTooLarge
from tenantry_server.artifacts import repositories
from tenantry_server.artifacts.repositories import FileSystemModelRepository


@pytest.mark.parametrize("length", [0, 9, 10, 11, 1000])
def test_a_file_that_grows_while_it_is_read_is_read_whole_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    path = tmp_path / "ann.joblib"
    path.write_bytes(b"x" * length)
    read = FileSystemModelRepository(max_bytes=10).read
    exact = ModelId(path.as_uri())
    before = SimpleNamespace(st_size=3, st_mode=path.stat().st_mode)
    monkeypatch.setattr(repositories, "os", SimpleNamespace(fstat=lambda _: before, path=os.path))
    if length <= 10:
        assert read(exact) == b"x" * length
    else:
        with pytest.raises(ArtifactTooLarge, match="11 bytes, the limit is 10"):
            read(exact)

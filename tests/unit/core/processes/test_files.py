"""Files that another process reads are replaced in one step."""

import threading
from pathlib import Path

import pytest

from tenantry.processes import files


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "ann.yaml"
    versions = [bytes([65 + number]) * 2_000_000 for number in range(8)]
    files.replace(path, versions[0])
    done = threading.Event()
    partial: list[bytes] = []

    def watch() -> None:
        while not done.is_set():
            seen = path.read_bytes()
            if seen not in versions:
                partial.append(seen[:80])

    watcher = threading.Thread(target=watch)
    watcher.start()
    for version in versions:
        files.replace(path, version)
    done.set()
    watcher.join()
    assert partial == []
    assert [each.name for each in tmp_path.iterdir()] == ["ann.yaml"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ann.yaml"
    files.replace(path, b"old")
    with pytest.raises(TypeError):
        files.replace(path, 17)  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["ann.yaml"]

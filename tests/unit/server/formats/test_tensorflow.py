"""TensorFlow artifacts before TensorFlow sees them; with it they are tested in tests/apart."""

import io
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid, FormatNotInstalled
from tenantry_server.formats import load_model
from tenantry_server.formats.checks import archive


def zipped(*names: str, data: bytes = b"x", link: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFLNK | 0o777 if link else stat.S_IFREG | 0o644) << 16
            written.writestr(member, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def refusal(data: bytes, uri: str = "file:///m.zip") -> str:
    with pytest.raises(ArtifactInvalid) as refused:
        load_model(data, ModelId(uri))
    return str(refused.value)


@pytest.mark.parametrize(
    "data", [zipped("config.json"), zipped("saved_model.pb"), zipped("a/saved_model.pb")]
)
def test_without_tensorflow_the_message_says_how_to_get_it(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # where someone installed it after all
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(FormatNotInstalled, match=r"pip install 'tenantry\[tensorflow\]'"):
        load_model(data, ModelId("file:///m.keras"))


@pytest.mark.parametrize(
    "name", ["../saved_model.pb", "/etc/saved_model.pb", "a/../../b", "..\\b", "C:\\b"]
)
def test_no_file_is_written_outside_of_its_folder(name: str) -> None:
    assert "outside its folder" in refusal(zipped("saved_model.pb", name))


def test_a_symbolic_link_is_refused() -> None:
    """The next file of the archive could be written through it."""
    assert "symbolic link" in refusal(zipped("saved_model.pb", link=True))


def test_an_archive_that_unpacks_out_of_all_proportion_is_refused() -> None:
    bomb = zipped("saved_model.pb", *(f"{number}" for number in range(8)), data=bytes(16 << 20))
    assert len(bomb) < 1 << 20
    assert f"unpack to {9 * (16 << 20)}; at most" in refusal(bomb)


def test_an_archive_of_very_many_files_is_refused() -> None:
    assert "holds 10001 files" in refusal(zipped("saved_model.pb", *map(str, range(10_000)), data=b""))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file, as Keras writes weights alone"),
        (zipped("weights.bin"), "neither config.json (.keras) nor saved_model.pb (SavedModel)"),
        (zipped("a/saved_model.pb", "b/saved_model.pb"), "stands in several folders: a, b"),
        (zipped("saved_model.pb")[:-1], "it is not a zip archive"),
    ],
)
def test_other_archives_are_refused_in_words(data: bytes, words: str) -> None:
    assert words in refusal(data)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    noise = os.urandom(1000)
    changed = bytearray(zipped("saved_model.pb", data=noise))
    changed[500] ^= 0xFF
    with pytest.raises(ValueError, match="it is damaged: Bad CRC-32"):
        archive.Archive(bytes(changed)).extract(str(tmp_path))


def test_a_folder_that_did_not_change_packs_to_the_same_bytes(tmp_path: Path) -> None:
    """Its digest is in the model id: publishing it again must not look like a new version."""
    (tmp_path / "variables").mkdir()
    for name in ("saved_model.pb", "variables/variables.index"):
        (tmp_path / name).write_bytes(name.encode())
    first = archive.pack(tmp_path)
    os.utime(tmp_path / "saved_model.pb", (1e9, 1e9))
    assert archive.pack(tmp_path) == first
    read = archive.Archive(first)
    assert read.folder_of("saved_model.pb") == ""
    assert read.folder_of("variables.index") == "variables"
    assert read.folder_of("other") is None

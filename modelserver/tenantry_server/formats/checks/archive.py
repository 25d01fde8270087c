"""Zip archives as artifacts; refuses names that lead outside, and contents out of proportion."""

import io
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

_MAX_MEMBERS = 10_000
# Weights hardly compress; text does, by ten. Deflate can reach a thousand, which only a bomb does.
_MAX_EXPANSION = 100
_SMALL_BYTES = 64 << 20  # any archive may unpack to this


class Archive:
    """A checked zip archive.

    Args:
        data: its bytes.

    Raises:
        ValueError: it is not one, is damaged, or is dangerous to unpack; says which.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except zipfile.BadZipFile as error:
            raise ValueError(f"it is not a zip archive, or a damaged one: {error}") from error
        self._members = [member for member in self._zip.infolist() if not member.is_dir()]
        if len(self._members) > _MAX_MEMBERS:
            raise ValueError(f"it holds {len(self._members)} files, at most {_MAX_MEMBERS} are allowed")
        # zipfile reads no more of a member than its size here.
        self.size_bytes = sum(member.file_size for member in self._members)
        limit_bytes = max(_MAX_EXPANSION * len(data), _SMALL_BYTES)
        if self.size_bytes > limit_bytes:
            raise ValueError(
                f"its {len(data)} bytes unpack to {self.size_bytes}; at most {limit_bytes} are allowed"
            )
        for member in self._members:
            _check(member)

    @property
    def names(self) -> list[str]:
        """The files, with the folders that they stand in."""
        return [member.filename for member in self._members]

    @property
    def sizes(self) -> dict[str, int]:
        """The unpacked size of each file in bytes."""
        return {member.filename: member.file_size for member in self._members}

    def read(self, name: str) -> bytes:
        """Return the content of one file.

        Raises:
            KeyError: there is none of this name.
            ValueError: its checksum is wrong.
        """
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"it is damaged: {error}") from error

    def folder_of(self, name: str) -> str | None:
        """Return the folder that holds a file called `name`: empty for the top one, None: there is none.

        Raises:
            ValueError: several folders do.
        """
        paths = [PurePosixPath(member.filename) for member in self._members]
        folders = sorted({str(path.parent) for path in paths if path.name == name})
        if len(folders) > 1:
            raise ValueError(f"{name} stands in several folders: {', '.join(folders[:5])}")
        if not folders:
            return None
        return "" if folders[0] == "." else folders[0]

    def bytes_of(self, *beginnings: str) -> int:
        """Return the unpacked size of the files whose names begin with one of these."""
        chosen = (m for m in self._members if PurePosixPath(m.filename).name.startswith(beginnings))
        return sum(member.file_size for member in chosen)

    def extract(self, folder: str) -> None:
        """Unpack into an existing folder.

        Raises:
            ValueError: a file's checksum is wrong.
        """
        try:
            self._zip.extractall(folder, self._members)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"it is damaged: {error}") from error


def pack(folder: Path) -> bytes:
    """Make a zip archive of a folder's files; equal files give equal bytes, whenever written.

    Raises:
        ValueError: a link leads out of it, or to a folder.
    """
    buffer = io.BytesIO()
    home = folder.resolve()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink()):
            if not path.resolve().is_relative_to(home):
                raise ValueError(f"{path.relative_to(folder)} is a link that leads out of the folder")
            if path.is_dir():
                raise ValueError(f"{path.relative_to(folder)} is a link to a folder; copy its files")
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            archive.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _check(member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.orig_filename:
        raise ValueError(f"it would write outside its folder: {member.filename!r:.100}")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"it holds a symbolic link: {member.filename!r:.100}")

"""Which links to folders are followed: those that lead to what is below the root and not read otherwise.

So a hidden folder can be put in service by one link, as git-sync does it, and no document is read twice.
Each link that is followed leads to another folder, so a walk ends whatever the links are.
"""

import os
from pathlib import Path


class Links:
    """The links of one walk.

    Args:
        root: the folder of manifests.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._followed: list[str] = []

    def refusal(self, path: str) -> str | None:
        """Return why the folder behind a link is not read; None: it is, from now on through this link."""
        real = os.path.realpath(path)
        if _is_below(self._root, real):
            return "it leads to a folder that contains it"
        if not _is_below(real, self._root):
            return "it leads out of the folder of manifests"
        below = os.path.relpath(real, self._root)
        if not any(part.startswith(".") for part in Path(below).parts):
            return f"its files are read as {below}/"
        if any(_is_below(real, followed) for followed in self._followed):
            return "its files are read through another link"
        self._followed.append(real)
        return None


def _is_below(path: str, folder: str) -> bool:
    """Return whether a path is a folder, or below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)

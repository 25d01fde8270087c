"""Which versions of artifacts anything names: manifests in files, and rows of the registry.

A version is known by the time and the digest in its name, wherever its folder is mounted. Refuses to answer
where a source can't be read whole: then nothing may be deleted.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from tenantry.registry import RegistryReader
from tenantry_operator.folder import manifest_files
from tenantry_operator.folder.manifest_files import ManifestFile
from tenantry_operator.folder.tree import FolderTree
from tenantry_server.publishing.versions import stems_in


def in_manifests(paths: Iterable[Path]) -> set[str]:
    """Return what files and folders of manifests name, whether their documents are valid or not.

    Raises:
        click.ClickException: a file can't be read, or holds no YAML.
    """
    named: set[str] = set()
    for path in paths:
        for file, content in _files(path):
            if content.broken is not None:
                raise click.ClickException(f"{content.broken}; correct it first: nothing was deleted")
            try:
                named |= stems_in(file.read_bytes().decode(errors="replace"))
            except OSError as error:
                words = f"{file} can't be read ({error.strerror}): nothing was deleted"
                raise click.ClickException(words) from None
            for document in content.documents:  # a text may be written with escapes
                if document.model is not None:
                    named |= stems_in(json.dumps(document.model.to_manifest()))
    return named


def in_registry(registry: RegistryReader) -> set[str]:
    """Return what the registry names: what is declared, what answers, and what is being loaded."""
    texts: list[str] = []
    for claim in registry.claims():
        texts += [json.dumps(claim.spec), claim.model_id or ""]
    for row in registry.assigned().values():
        texts += [row.model_id or "", row.candidate_id or ""]
    return stems_in("\n".join(texts))


def _files(path: Path) -> Iterator[tuple[Path, ManifestFile]]:
    if not path.is_dir():
        yield path, manifest_files.read(path)
        return
    tree = FolderTree(path)
    tree.read_changed(0.0, 0.0)
    for origin, content in tree.contents.items():
        yield path / origin, content

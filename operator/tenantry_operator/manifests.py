"""Reads a file of manifests: each document on its own, with the line of whatever is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tenantry.errors import InvalidManifest
from tenantry.spec import API_GROUP, KIND, TenantModel

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """One TenantModel in a file.

    Attributes:
        namespace, name: as far as they can be read; name is None where they can't.
        model: the parsed document; None where it breaks a rule.
        problem: the rule, its message beginning with ``FILE:LINE:``.
    """

    namespace: str
    name: str | None
    model: TenantModel | None
    problem: InvalidManifest | None = None


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """What a file holds.

    Attributes:
        documents: its TenantModels in order; documents of other kinds are left out.
        broken: why the rest of the file could not be read; None where all of it was.
    """

    documents: list[Document]
    broken: InvalidManifest | None = None


def read(path: Path) -> ManifestFile:
    """Read every TenantModel of a YAML or JSON file; a bad document hurts no other.

    Raises:
        OSError: the file can't be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        problem = f"is larger than {_MAX_BYTES >> 20} MiB, which no manifest is"
        return ManifestFile([], InvalidManifest("", f"{path}: {problem}"))
    text = path.read_bytes()
    documents: list[Document] = []
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            documents.extend(_documents(node, path))
    except yaml.YAMLError as error:
        return ManifestFile(documents, _syntax(error, path))
    except (ValueError, RecursionError) as error:  # bytes that are no text; absurdly deep nesting
        return ManifestFile(documents, InvalidManifest("", f"{path}: {error}"))
    return ManifestFile(documents)


def _documents(node: yaml.Node | None, path: Path) -> Iterator[Document]:
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        return  # an empty document between two ---
    _refuse_duplicate_keys(node)
    document = _Constructor().construct_document(node)
    if isinstance(document, dict) and document.get("kind") in ("List", f"{KIND}List"):
        items = _child(node, "items")
        if isinstance(items, yaml.SequenceNode):
            for item in items.value:
                yield from _documents(item, path)
        return
    if isinstance(document, dict) and not _is_ours(document):
        return
    metadata = document.get("metadata") if isinstance(document, dict) else None
    named = metadata if isinstance(metadata, dict) else {}
    name = named.get("name") if isinstance(named.get("name"), str) else None
    space = named.get("namespace")
    namespace = space if isinstance(space, str) else "default"
    try:
        model = TenantModel.parse(document)
    except InvalidManifest as error:
        line = _line_of(node, error.field)
        told = InvalidManifest("", f"{path}:{line}: {error}", line=line)
        yield Document(namespace, name, None, told)
    else:
        yield Document(namespace, name, model)


def _is_ours(document: dict[Any, Any]) -> bool:
    """A TenantModel, or close enough that whoever wrote it meant one."""
    group = str(document.get("apiVersion", "")).partition("/")[0]
    return document.get("kind") == KIND or group == API_GROUP


class _Constructor(yaml.constructor.SafeConstructor):
    """Builds plain values; dates stay the text that they were, as they do on an API server."""


_Constructor.add_constructor(  # type: ignore[type-var]  # the stubs know only loaders here
    "tag:yaml.org,2002:timestamp", yaml.constructor.SafeConstructor.construct_yaml_str
)


def _refuse_duplicate_keys(root: yaml.Node) -> None:
    """YAML forbids them and most parsers take the last one; here the file is refused."""
    todo: list[yaml.Node] = [root]
    visited: set[int] = set()  # aliases make a graph of the tree, at worst a loop
    while todo:
        node = todo.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                    )
                keys.add(str(key.value))
                todo.append(value)


def _syntax(error: yaml.YAMLError, path: Path) -> InvalidManifest:
    mark = getattr(error, "problem_mark", None)
    line = None if mark is None else mark.line + 1
    problem = getattr(error, "problem", None) or str(error)
    where = f"{path}:{line}" if line else str(path)
    return InvalidManifest("", f"{where}: not YAML: {problem}", line=line)


def _child(node: yaml.Node, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value  # type: ignore[no-any-return]
    return None


def _line_of(node: yaml.Node, field: str) -> int:
    """The 1-based line of a dotted path, or of the nearest part of it that is there."""
    at = node
    line = node.start_mark.line
    for part in filter(None, field.split(".")):
        if not isinstance(at, yaml.MappingNode):
            break
        found = next(((k, v) for k, v in at.value if k.value == part), None)
        if found is None:
            break
        line, at = found[0].start_mark.line, found[1]
    return int(line) + 1

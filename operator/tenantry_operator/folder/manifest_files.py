"""Reads a file of manifests: each document on its own, with the line of each mistake."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tenantry.errors import InvalidManifest
from tenantry.manifest.spec import API_GROUP, KIND, TenantModel

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_BYTES = 16 << 20
_MAX_DEPTH = (
    100  # of one value in another; libyaml's recursion would end the process somewhere beyond 10,000
)
_MAX_NAME = {"name": 253, "namespace": 63}  # the parser refuses longer ones, which fit no column


@dataclass(frozen=True, slots=True)
class Document:
    """One TenantModel in a file.

    Attributes:
        namespace, name: as far as they can be read; name is None where they can't.
        model: the parsed document; None where it breaks a rule.
        problem: the rule, its message beginning with ``FILE:LINE:``.
        line: of the file where it begins, counted from 1.
    """

    namespace: str
    name: str | None
    model: TenantModel | None
    problem: InvalidManifest | None = None
    line: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """What a file holds.

    Attributes:
        documents: its TenantModels in order; documents of other kinds are left out.
        broken: why the rest of the file could not be read; None where all of it was.
        empty: what to say of the TenantModels that it held, as it has no text at all; None where it has.
    """

    documents: list[Document]
    broken: InvalidManifest | None = None
    empty: InvalidManifest | None = None


def read(path: Path) -> ManifestFile:
    """Read every TenantModel of a YAML or JSON file; a bad document hurts no other.

    Raises:
        OSError: the file can't be read.
    """
    shown = str(path).encode(errors="backslashreplace").decode()  # file names are bytes, not text
    if path.stat().st_size > _MAX_BYTES:
        problem = f"is larger than {_MAX_BYTES >> 20} MiB, which a manifest never is"
        return ManifestFile([], InvalidManifest("", f"{shown}: {problem}"))
    text = path.read_bytes()
    if not text.strip():
        problem = "is empty; write its TenantModels again, or delete the file to remove them"
        return ManifestFile([], empty=InvalidManifest("", f"{shown}: {problem}"))
    documents: list[Document] = []
    try:
        nodes = yaml.compose_all(text, Loader=_Loader)
        for _ in _shallow_documents(text):
            node = next(nodes, None)
            if node is not None:
                _refuse_traps(node)
                documents.extend(_documents(node, shown))
    except yaml.YAMLError as error:
        return ManifestFile(documents, _syntax(error, shown))
    except Exception as error:
        # PyYAML's constructors raise what their input breaks: KeyError for !!bool maybe, IndexError for
        # an empty !!int, ValueError for bytes that are not text.
        problem = f"not YAML: {error or type(error).__name__}"
        return ManifestFile(documents, InvalidManifest("", f"{shown}: {problem}"))
    return ManifestFile(documents)


def _documents(node: yaml.Node, shown: str) -> Iterator[Document]:
    if isinstance(node, yaml.ScalarNode) and (not node.value or node.tag == "tag:yaml.org,2002:null"):
        return  # an empty document between two ---
    document = _Constructor().construct_document(node)
    if isinstance(document, dict) and document.get("kind") in ("List", f"{KIND}List"):
        items = _child(node, "items")
        if isinstance(items, yaml.SequenceNode):
            for item in items.value:
                yield from _documents(item, shown)
        return
    if isinstance(document, dict) and not _is_ours(document):
        return
    metadata = document.get("metadata") if isinstance(document, dict) else None
    named = metadata if isinstance(metadata, dict) else {}
    begins = int(node.start_mark.line) + 1
    name, namespace = _label(named, "name"), _label(named, "namespace") or "default"
    try:
        model = TenantModel.parse(document)
    except InvalidManifest as error:
        line = _line_of(node, error.field)
        problem = InvalidManifest("", f"{shown}:{line}: {error}", line=line)
        yield Document(namespace, name, None, problem, begins)
    else:
        yield Document(namespace, name, model, line=begins)


def _label(metadata: dict[Any, Any], field: str) -> str | None:
    """Return a name that can be shown and stored, even where it breaks a rule."""
    value = metadata.get(field)
    good = isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MAX_NAME[field]
    return value if good else None


def _is_ours(document: dict[Any, Any]) -> bool:
    """Return whether it is a TenantModel, or close enough to be meant as one."""
    group = str(document.get("apiVersion", "")).partition("/")[0]
    return document.get("kind") == KIND or group == API_GROUP


class _Constructor(yaml.constructor.SafeConstructor):
    """Builds plain values; dates stay the text that they were, as they do on an API server."""


_Constructor.add_constructor(  # type: ignore[type-var]  # the stubs know only loaders here
    "tag:yaml.org,2002:timestamp", yaml.constructor.SafeConstructor.construct_yaml_str
)


def _shallow_documents(text: bytes) -> Iterator[None]:
    """Go from document to document, before their nodes are built, and refuse a deep one.

    Events come without recursion; building nodes from them recurses in C, which nothing can catch.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.DocumentEndEvent):
                yield
            elif isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    break
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        else:
            return
    except yaml.YAMLError:
        yield  # building the nodes fails at the same place
        return
    raise _marked(f"nested deeper than {_MAX_DEPTH} levels", event.start_mark)


def _refuse_traps(root: yaml.Node) -> None:
    """Refuse repeated keys, and aliases that make a loop, a tower or a bomb of the document.

    YAML forbids repeated keys, and most parsers take the last one.
    """
    extent: dict[int, tuple[int, int]] = {}  # node -> nodes and levels below it with aliases written out
    opened: set[int] = set()
    todo = [root]
    while todo:
        node = todo[-1]
        children = _children(node)
        if id(node) in extent:
            todo.pop()
        elif id(node) in opened:
            below = [extent[id(child)] for child in children]
            size = 1 + sum(each for each, _ in below)
            depth = 1 + max((each for _, each in below), default=0)
            if depth > _MAX_DEPTH:
                raise _marked(f"nested deeper than {_MAX_DEPTH} levels", node.start_mark)
            if size > 10_000 + 10 * len(opened):
                raise _marked(f"its aliases stand for {size} values, far more than it has", node.start_mark)
            extent[id(node)] = (size, depth)
            todo.pop()
        else:
            opened.add(id(node))
            _refuse_repeated(node)
            for child in children:
                if id(child) in opened and id(child) not in extent:
                    raise _marked("an alias refers to the value that contains it", node.start_mark)
            todo.extend(child for child in reversed(children) if id(child) not in extent)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else []


def _refuse_repeated(node: yaml.Node) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    keys: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in keys:
                raise _marked(f"the key {key.value!r} is given twice", key.start_mark)
            keys.add(key.value)


def _marked(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _syntax(error: yaml.YAMLError, shown: str) -> InvalidManifest:
    mark = getattr(error, "problem_mark", None)
    line = None if mark is None else mark.line + 1
    problem = getattr(error, "problem", None) or str(error)
    where = f"{shown}:{line}" if line else shown
    return InvalidManifest("", f"{where}: not YAML: {problem}", line=line)


def _child(node: yaml.Node, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value  # type: ignore[no-any-return]
    return None


def _line_of(node: yaml.Node, field: str) -> int:
    """Return the 1-based line of a dotted path, or of the nearest part that is there."""
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

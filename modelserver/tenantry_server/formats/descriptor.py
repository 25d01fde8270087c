"""What the rest of Tenantry knows of a format without reading an artifact: each format's folder states it.

A descriptor is read by the serving process, which must not import a library of models. So it imports
nothing, and whatever does stands in the module `reader` beside it.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of artifact: what stands as ``FORMAT`` in the package of its name.

    Its module ``reader`` is imported when the first such artifact is read. It has ``load(data, model_id)``,
    which makes a Model of the bytes; any exception means that they are unusable.

    Attributes:
        name: as in ``spec.model.format``; the name of its package too.
        suffixes: of artifacts that need no explicit format, in lower case; the first is what is published.
        holds: what such a file is, for docs/models.md.
        kind: what it is called in errors, with its article.
        extra: of our own distribution, which brings its library; empty: it needs none.
        rank: where it stands in lists; those of one rank stand in the order of their names.
        offers: what its reader can do beside loading:

            - ``dump(model)`` returns bytes and suffix of its library's own objects, None for others;
            - ``example(data, model_id)`` returns rows that the artifact brings, None: it brings none;
            - ``skew(data)`` returns the `Skew` between the library that wrote it and the one here, or None;
            - ``written_again(data)`` returns the artifact as the libraries here write its content.
        heavy: whether its library takes long to import, or much memory; its models have their own workers.
        reads_cards: whether ``load(data, model_id, card)`` makes use of a card.
        answers_several: whether ``load`` makes one model of several methods; else each has one of its own.
        runs_pickles: whether reading it runs code that its author chose, which may itself fail.
        folder_file: a file that marks the folder of such a model, which is published as a zip archive.
        begins: how its files begin, a regular expression: only its reader says what is wrong with them.
        mistaken: how files of its library begin, each with what it is called where another format was
            declared for it.
        members: of zip archives of its library, a regular expression of a member's name that marks them,
            and what such an archive is called where another format was declared for it.
        libraries: of its libraries' modules, the distributions whose versions a card records.
        brings: more packages that its libraries import; what no format brings is a tenant's own code.
    """

    name: str
    suffixes: tuple[str, ...]
    holds: str
    kind: str
    extra: str = ""
    rank: int = 100
    offers: frozenset[str] = frozenset()
    heavy: bool = False
    reads_cards: bool = False
    answers_several: bool = False
    runs_pickles: bool = False
    folder_file: str = ""
    begins: bytes = b""
    mistaken: tuple[tuple[bytes, str], ...] = ()
    members: tuple[tuple[str, str], ...] = ()
    libraries: Mapping[str, str] = field(default_factory=lambda: _NONE)
    brings: frozenset[str] = frozenset()

    @property
    def reader(self) -> ModuleType:
        """The module that reads it; imported now, and its library with it or with the first artifact."""
        return importlib.import_module(f"{__package__}.{self.name}.reader")

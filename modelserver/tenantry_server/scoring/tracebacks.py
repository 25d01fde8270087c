"""Where a model raised, for the log: types and places, without a word of what was raised.

What an exception says may quote a row of a request, which no log holds. Names of files and functions are a
tenant's as well, so what a worker sends is read as a stranger's: checked, bounded and escaped.
"""

from collections import deque
from types import TracebackType
from typing import TypeAlias

_ERRORS = 3  # of a chain, the innermost
_FRAMES = 12  # of each, the innermost
_CHARACTERS = 200  # of each name
_CHAIN = 100  # links that are followed
_CAUSE, _CONTEXT, _QUIET, _PLACE = (
    vars(BaseException)[name]
    for name in ("__cause__", "__context__", "__suppress_context__", "__traceback__")
)
_NAME = vars(type)["__name__"]  # these are read as Python does: a class may say something else of itself

Frame: TypeAlias = "tuple[str, int, str]"
"""File, line and function."""

Raised: TypeAlias = "tuple[str, list[Frame]]"
"""The type of an exception and where it was raised, the innermost frame last."""


def of(error: BaseException) -> list[Raised]:
    """Return where an exception and its causes were raised, the first cause first.

    Example:
        >>> try:
        ...     int("seven")
        ... except ValueError as error:
        ...     [(kind, [function for _, _, function in frames]) for kind, frames in of(error)]
        [('ValueError', ['<module>'])]
    """
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and len(chain) < _CHAIN and all(each is not before for before in chain):
        chain.append(each)
        each = _CAUSE.__get__(each) or (None if _QUIET.__get__(each) else _CONTEXT.__get__(each))
    last = reversed(chain[-_ERRORS:])
    return [(_shown(_NAME.__get__(type(each))), _frames(_PLACE.__get__(each))) for each in last]


def text(described: object) -> str:
    r"""Return what `of` described, however it arrived, as Python prints a traceback; empty: nothing.

    Example:
        >>> print(text([["KeyError", [["/models/m.py", 7, "predict\n"]]]]))
        Traceback (most recent call last):
          File "/models/m.py", line 7, in predict\n
        KeyError
    """
    parts = described if isinstance(described, list | tuple) else ()
    return "\n".join(filter(None, map(_part, parts[:_ERRORS])))


def _frames(traceback: TracebackType | None) -> list[Frame]:
    last: deque[TracebackType] = deque(maxlen=_FRAMES)
    while traceback is not None:
        last.append(traceback)
        traceback = traceback.tb_next
    codes = ((each.tb_frame.f_code, each.tb_lineno) for each in last)
    return [
        (_shown(code.co_filename), line or 0, _shown(code.co_name))  # None: of code that was made
        for code, line in codes
    ]


def _part(raised: object) -> str:
    match raised:
        case [str(kind), list(frames)]:
            places = "".join(map(_place, frames[:_FRAMES]))
            return f"Traceback (most recent call last):\n{places}{_shown(kind)}"
    return ""


def _place(frame: object) -> str:
    match frame:
        case [str(file), int(line), str(function)]:
            return f'  File "{_shown(file)}", line {line % 10**9}, in {_shown(function)}\n'
    return ""


def _shown(name: str) -> str:
    """Return a name without what a terminal, or a reader of logs, could take for something else."""
    some = name[:_CHARACTERS]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in some)

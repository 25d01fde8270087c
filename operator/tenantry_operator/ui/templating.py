"""HTML from the templates of this package. Here, and nowhere else, text becomes HTML.

A template is one of the blocks of a file: `tenants.row` is what stands after `<!-- row -->` in
`templates/tenants.html`. Its `$names` stand in text or in quoted attributes, where escaping makes any value
harmless; a test looks at each of them.
"""

import html
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from string import Template

_BLOCK = re.compile(r"^<!-- ([a-z_]+) -->\n", re.MULTILINE)
# What shows nothing, or turns the direction of what follows: a stranger's text could pose as ours.
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


class Html(str):
    """Text that is HTML already; only this module makes any."""

    __slots__ = ()


class _Template(Template):
    idpattern = "[a-z_]+"
    flags = re.ASCII


def text(value: object) -> Html:
    r"""Escape a value for text and for quoted attributes; what is invisible becomes U+FFFD.

    Example:
        >>> text('<script>"\u202e') == "&lt;script&gt;&quot;\ufffd"
        True
    """
    return value if isinstance(value, Html) else Html(html.escape(_UNSEEN.sub("\ufffd", str(value))))


def render(name: str, /, **values: object) -> Html:
    """Fill a template in; every value that is not HTML already is escaped.

    Args:
        name: FILE.BLOCK.

    Raises:
        KeyError: it has no such block, or a value is missing.
    """
    return Html(_blocks()[name].substitute({key: text(value) for key, value in values.items()}))


def joined(parts: Iterable[Html]) -> Html:
    """Put pieces one behind the other."""
    return Html("".join(text(part) for part in parts))


NOTHING = Html("")


@lru_cache(maxsize=1)
def _blocks() -> dict[str, _Template]:
    found = {}
    for file in resources.files(__package__).joinpath("templates").iterdir():
        if file.name.endswith(".html"):
            _, *parts = _BLOCK.split(file.read_text(encoding="utf-8"))
            for block, body in zip(parts[::2], parts[1::2], strict=True):
                found[f"{file.name.removesuffix('.html')}.{block}"] = _Template(body)
    return found

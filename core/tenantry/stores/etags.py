"""Entity tags as HTTP has them (RFC 9110, section 8.8.3): quotes around, and perhaps ``W/`` before.

A weak tag never matches an If-Match, so an object with such a tag is read without one, and the tag of the
answer is compared.
"""


def of_header(value: str | None) -> str:
    """Return the tag of an ETag header without quotes, a weak one after ``W/``; empty: none.

    Example:
        >>> of_header('"686897696a7c"'), of_header('W/"686897696a7c"'), of_header(None)
        ('686897696a7c', 'W/686897696a7c', '')
    """
    text = (value or "").strip()
    weak = text.startswith('W/"')
    opaque = text.removeprefix("W/") if weak else text
    quoted = len(opaque) > 1 and opaque[0] == opaque[-1] == '"'
    return ("W/" if weak else "") + (opaque[1:-1] if quoted else opaque)


def if_match(tag: str) -> str | None:
    """Return the value of If-Match that demands this tag; None: no such value matches a weak tag.

    Example:
        >>> if_match("686897696a7c"), if_match("W/686897696a7c")
        ('"686897696a7c"', None)
    """
    return None if tag.startswith("W/") else f'"{tag}"'


def same(one: str, other: str) -> bool:
    """Compare weakly: a proxy that compresses makes a tag weak, and the content is the same.

    Example:
        >>> same("686897696a7c", "W/686897696a7c"), same("686897696a7c", "W/7c")
        (True, False)
    """
    return one.removeprefix("W/") == other.removeprefix("W/")

"""Text becomes HTML in one place, and is harmless there."""

import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from tenantry_operator import ui
from tenantry_operator.ui.messages import address
from tenantry_operator.ui.templating import Html, joined, render, text

TEMPLATES = [
    file for file in resources.files(ui).joinpath("templates").iterdir() if file.name.endswith(".html")
]
NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</textarea></title></style><svg onload=alert(1)>",
    "${here} $here {{7*7}} %s",
    "&lt;already&gt; &#x3c;script&#x3e;",
    "\u202egnp.exe\u2066",
    "a\0b\x1b[31m",
    "\ud800",
]


class _Seen(HTMLParser):
    """Which tags, attributes and texts a browser would find."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("value", NASTY)
def test_any_text_is_one_text_and_one_attribute(value: str) -> None:
    seen = _Seen()
    seen.feed(render("tenants.link", href=value, rel=value, title=value))
    seen.close()
    ((tag, attributes),) = seen.tags
    shown = re.sub("[\\x00\\x1b\u202e\u2066\ud800]", "\ufffd", value)
    assert tag == "a"
    assert attributes == {"class": "button", "href": shown, "rel": shown}
    assert seen.text.strip() == shown


def test_what_is_html_already_is_not_escaped_again_and_parts_of_it_are() -> None:
    inner = render("tenants.badge", reason="<b>", tone="good")
    assert text(inner) is inner
    assert joined([inner, inner]) == inner + inner
    assert "&lt;span" in text(f"{inner}")
    assert "&lt;span" in text(inner + "")


def test_placeholders_stand_in_text_or_in_quoted_attributes_alone() -> None:
    """Elsewhere (scripts, styles, names of tags, bare attributes) escaping would not be enough."""
    assert len(TEMPLATES) >= 4
    for file in TEMPLATES:
        page = file.read_text()
        assert "javascript:" not in page
        assert not re.search(r"\son\w+=|\sstyle=", page), "the policy lets none through"
        assert not re.search(r"<(script|style)[^>]*>[^<]", page), "no code stands in a page"
        for tag in re.findall(r"<[a-zA-Z/][^>]*>", page):
            bare = re.sub(r'"[^"]*"', '""', tag)
            assert "$" not in bare, tag


def test_addresses_begin_at_the_page_wherever_they_are_filled_in() -> None:
    """So a `javascript:` or another site can't come from a value: each is made by `address`."""
    for file in TEMPLATES:
        for name in re.findall(r'(?:href|action|src)="\$([a-z_]+)', file.read_text()):
            assert name in {"href", "action", "icon_svg", "page_css", "page_js"}, name
    assert address("javascript:alert(1)", "../..", q="a&b=c#d") == (
        "/ui/javascript%3Aalert%281%29/..%2F..?q=a%26b%3Dc%23d"
    )


def test_only_templating_makes_html() -> None:
    sources = [file for file in Path(ui.__file__).parent.rglob("*.py") if file.name != "templating.py"]
    assert len(sources) > 10
    for file in sources:
        assert not re.search(r"\bHtml\(|Markup|cast\(", file.read_text()), file.name


def test_a_missing_value_is_an_error_and_not_a_hole() -> None:
    with pytest.raises(KeyError):
        render("tenants.badge", reason="Ready")
    assert isinstance(render("tenants.badge", reason="Ready", tone="good"), Html)

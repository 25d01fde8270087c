"""Finds words and phrases that a native reader stumbles over: `python tools/prose.py [FOLDER ...]`.

Reads Markdown, and in Python only what people read: comments, docstrings and other strings. The list, and
its exceptions with their reasons, stand in tools/prose.toml.
"""

import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_TEXTS = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))


def main(folders: list[str]) -> int:
    """Print every finding, and a count; return the exit status."""
    rules = tomllib.loads((ROOT / "tools" / "prose.toml").read_text())
    words = [
        (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), hint) for pattern, hint in rules["words"].items()
    ]
    allowed = [(re.compile(each["in"]), re.compile(each["text"])) for each in rules["allowed"]]
    files = _files(folders)
    found: Counter[str] = Counter()
    for path in files:
        name = str(path.relative_to(ROOT))
        exceptions = [text for where, text in allowed if where.match(name)]
        for number, text in _read(path):
            for pattern, hint in words:
                for match in pattern.finditer(text):
                    if not any(_covers(each, text, match) for each in exceptions):
                        print(f"{name}:{number}: {match[0]!r}; {hint}")
                        found[path.relative_to(ROOT).parts[0]] += 1
    if found:
        by_folder = ", ".join(f"{folder} {count}" for folder, count in found.most_common())
        print(f"{found.total()} findings: {by_folder}")
    return bool(found)


def _covers(exception: re.Pattern[str], text: str, match: re.Match[str]) -> bool:
    return any(
        each.start() <= match.start() and match.end() <= each.end() for each in exception.finditer(text)
    )


def _files(folders: list[str]) -> list[Path]:
    """Those that git knows, or would take in."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = sorted(set(listed.stdout.splitlines()))
    paths = [ROOT / name for name in names if name.endswith((".py", ".md"))]
    chosen = [
        path for path in paths if not folders or any(path.is_relative_to(ROOT / each) for each in folders)
    ]
    return [path for path in chosen if path.is_file() and path != Path(__file__)]


def _read(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of what people read."""
    if path.suffix == ".md":
        yield from enumerate(path.read_text().splitlines(), start=1)
        return
    source = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _TEXTS:
            yield from enumerate(token.string.splitlines(), start=token.start[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

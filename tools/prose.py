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
        (re.compile(rf"(?<!\w)(?:{pattern})(?!\w)".replace(" ", r"\s+"), re.IGNORECASE), hint)
        for pattern, hint in rules["words"].items()
    ]
    allowed = [(re.compile(each["in"]), re.compile(each["text"])) for each in rules["allowed"]]
    files = _files(folders)
    found: Counter[str] = Counter()
    for path in files:
        name = str(path.relative_to(ROOT))
        exceptions = [text for where, text in allowed if where.match(name)]
        for start, text in _read(path):
            for pattern, hint in words:
                for match in pattern.finditer(text):
                    if not any(_covers(each, text, match) for each in exceptions):
                        number = start + text.count("\n", 0, match.start())
                        print(f"{name}:{number}: {' '.join(match[0].split())!r}; {hint}")
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
    """The files that git knows or would add; where there is no git, as in an unpacked archive, all."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md"],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        listed = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".venv" not in path.parts]
    names = sorted(set(listed))
    paths = [ROOT / name for name in names if name.endswith((".py", ".md"))]
    chosen = [
        path for path in paths if not folders or any(path.is_relative_to(ROOT / each) for each in folders)
    ]
    return [path for path in chosen if path.is_file() and path != Path(__file__)]


def _read(path: Path) -> Iterator[tuple[int, str]]:
    """What people read, each piece with its first line; sentences run on over the ends of lines."""
    source = path.read_text()
    if path.suffix == ".md":
        yield 1, source
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _TEXTS:
            yield token.start[0], token.string


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Each promise of docs/security.md names a test that exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/security.md").read_text())
ROWS = (ROOT / "docs/security.md").read_text().partition("| --- | --- | --- |")[2].partition("\n\n")[0]


def test_every_promise_names_one() -> None:
    assert len(NAMED) == len(ROWS.strip().splitlines()) > 10


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_it_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert test in names

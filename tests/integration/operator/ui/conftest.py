"""A page that is open, and one that asks for a key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry_operator.settings import Ui
from tests.support.operator.page_rig import SECRET, PageRig, opened


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[PageRig]:
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[PageRig]:
    with opened(tmp_path, mode=Ui.KEYS, secret=SECRET) as found:
        yield found

"""A page that is open, and one that asks for a key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry.trust import challenges
from tenantry_operator.settings import Ui
from tenantry_operator.ui import asking
from tests.support.operator.page_rig import SECRET, PageRig, opened
from tests.support.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers is waited for, however long the machine stands still."""
    monkeypatch.setattr(asking, "_SHORT_S", PATIENCE_S)
    monkeypatch.setattr(challenges, "_TIMEOUT_S", PATIENCE_S)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[PageRig]:
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[PageRig]:
    with opened(tmp_path, mode=Ui.KEYS, secret=SECRET) as found:
        yield found

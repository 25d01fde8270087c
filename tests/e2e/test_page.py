"""The page of the fleet beside `tenantry up`, in Debian's Chromium: read, used by keyboard, photographed.

Screenshots are in the temporary folder of the test, which pytest keeps (`--basetemp` chooses it).
"""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tenantry_server import publish
from tests.support.network.clients.browser import BrowserMissing, Tab, browsing
from tests.support.processes import up as ups
from tests.support.processes.up import Up
from tests.support.waiting import until

TAB, ENTER = ("Tab", 9), ("Enter", 13, "\r")
FRAME = pd.DataFrame({"km": [1.0, 2.0, 4.0, 5.0], "carrier": ["UA", "DL", "UA", "DL"]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


def _declare(folder: Path, user_id: str) -> None:
    model = LinearRegression().fit(FRAME[["km"]], [12.0, 14.0, 18.0, 20.0])
    publish(
        model, user_id=user_id, to=folder / "models", manifests=folder / "tenants", example=FRAME[["km"]]
    )


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    for user_id in ("ann", "bob", "store-042"):
        _declare(folder, user_id)
    (folder / "models" / "none.joblib").write_bytes(b"not a model")
    manifest = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantModel",
        "metadata": {"name": "broken"},
        "spec": {"userId": "broken", "model": {"uri": (folder / "models" / "none.joblib").as_uri()}},
    }
    (folder / "tenants" / "broken.yaml").write_text(json.dumps(manifest))
    with ups.running(folder / "tenants", folder / "state", servers=1) as running:
        running.until_ready(3)
        running.until_settled("broken", "ArtifactInvalid")
        yield running


@pytest.fixture(scope="module")
def page(up: Up) -> str:
    return str(json.loads((up.state / "up.json").read_text())["ui"])


@pytest.fixture(scope="module")
def tab(up: Up, folder: Path) -> Iterator[Tab]:
    try:
        with browsing(folder / "profile") as found:
            yield found
    except BrowserMissing as error:
        pytest.skip(f"the page is read without a browser alone: {error}")


def _look(tab: Tab, folder: Path, name: str) -> None:
    for scheme, given in (
        ("light", {}),
        ("dark", {"dark": True}),
        ("narrow", {"width": 390, "height": 844}),
    ):
        file = folder / f"{name}-{scheme}.png"
        tab.look(file, **given)
        assert file.stat().st_size > 10_000, "a picture of something"
        across = "document.documentElement.scrollWidth <= window.innerWidth"
        assert tab.value(across), f"{name}, {scheme}: has to be moved sideways"


def test_it_is_read_without_a_browser(page: str) -> None:
    assert page.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(page) as answer:
        text = answer.read().decode()
    for words in ("store-042", "ArtifactInvalid", "broken"):
        assert words in text


def test_it_is_used_by_keyboard(tab: Tab, page: str, folder: Path) -> None:
    """From the search to an answer, without a mouse; and nothing in it is refused by its own policy."""
    tab.open(page)
    _look(tab, folder, "tenants")
    tab.press(*TAB)
    assert tab.value("document.activeElement.className") == "skip"
    tab.press(*ENTER)
    assert tab.until("document.activeElement.id") == "main"
    for _ in range(12):  # over the filters to the search
        if tab.value("document.activeElement.id") == "q":
            break
        tab.press(*TAB)
    tab.write("STORE-04")
    tab.press(*ENTER)
    tab.until("location.search.includes('q=STORE-04') && document.readyState === 'complete'")
    assert tab.value("[...document.querySelectorAll('tbody th')].map(each => each.textContent)") == [
        "store-042"
    ]
    tab.value("document.querySelector('tbody th a').focus()")
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") != "none"
    tab.press(*ENTER)
    assert tab.until("document.readyState === 'complete' && location.pathname.includes('/tenants/')")
    assert tab.until("document.querySelector('h1').textContent") == "store-042"
    tab.value("document.querySelector('form.try input:not([type=hidden])').select()")
    tab.write("7")
    tab.press(*ENTER)
    assert "24.0" in tab.until("document.querySelector('#answer pre')?.textContent")
    assert "/predict" not in tab.value("location.href"), "the page stays"
    _look(tab, folder, "tenant")
    assert tab.problems == []


def test_it_shows_changes_by_itself_and_can_be_paused(tab: Tab, page: str, folder: Path) -> None:
    tab.open(page)
    tab.until("document.getElementById('live').textContent === 'Live'")
    tab.value("document.querySelector('tbody th a').focus()")
    focused = tab.value("document.activeElement.textContent")
    _declare(folder, "new-one")
    tab.until(
        "[...document.querySelectorAll('tbody tr')].some(each => /new-one.*Ready/s.test(each.textContent))"
    )
    assert tab.value("document.activeElement.textContent") == focused, "the focus stays where it was"
    tab.value("document.getElementById('pause').click()")
    assert tab.value("document.getElementById('live').textContent") == "Paused"
    assert tab.value("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    assert tab.problems == []


def test_servers_and_workers_are_shown(tab: Tab, page: str, folder: Path) -> None:
    tab.open(f"{page}/servers")
    _look(tab, folder, "servers")
    tab.value("document.querySelector('tbody th a').click()")
    tab.until("document.readyState === 'complete' && location.pathname.endsWith('/servers/server-0')")
    assert "Requests" in tab.value("document.getElementById('counted').textContent")
    assert tab.value("document.querySelectorAll('#workers tbody tr').length") > 0
    _look(tab, folder, "server")
    assert tab.problems == []


def test_all_of_it_works_without_scripts(tab: Tab, up: Up, page: str) -> None:
    (tenant,) = up.tenants("ann")
    assert tenant["userId"] == "ann"
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(f"{page}?q=ann")
        assert tab.value("document.getElementById('pause').hidden")
        tab.value("document.querySelector('tbody th a').focus()")
        tab.press(*ENTER)
        tab.until("document.readyState === 'complete' && location.pathname.includes('/tenants/')")
        tab.value("document.querySelector('form.try input:not([type=hidden])').select()")
        tab.write("1")
        tab.press(*ENTER)
        assert "12.0" in tab.until("document.querySelector('#answer pre')?.textContent")
        assert tab.value("location.pathname").endswith("/predict")
    finally:
        tab.send("Emulation.setScriptExecutionDisabled", value=False)


def test_the_page_goes_on_without_the_operator(up: Up, page: str) -> None:
    """`up` serves it, so it shows a fleet whose operator is being started again."""
    before = up.pids["operator"]
    os.kill(before, signal.SIGKILL)
    with urllib.request.urlopen(page) as answer:
        assert answer.status == 200
    until(lambda: up.pids["operator"] != before, "the operator is started again")

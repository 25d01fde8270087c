"""What stands on the pages, read as a browser reads it."""

import html
import json
import re

import pytest

from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, LoadReport, LoadState, Writes
from tenantry.registry.faults import Fault
from tests.support.operator.page_rig import PageRig, card, model_id, page_of, ready, stalled

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</bdi></td><svg/onload=alert(1)>",
    "' autofocus onfocus='alert(1)",
    "${here}$here%s{{7}}",
    "\u202ereversed\u2066",
]
_TAGS = {"script": 1, "svg": 0, "img": 0, "iframe": 0, "object": 0, "style": 0, "base": 0}


def _harmless(page: str) -> None:
    """No tag, no handler and no invisible character came from a value."""
    for tag, count in _TAGS.items():
        assert len(re.findall(rf"<{tag}\b", page)) == count, tag
    without_values = re.sub(r'"[^"]*"', '""', page)
    for tag in re.findall(r"<[a-zA-Z][^>]*>", without_values):
        assert not re.search(r"\son\w+\s*=|autofocus", tag), tag
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)


def _links(page: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r'href="([^"]*)"', page)]


def test_an_empty_fleet_says_what_to_do(rig: PageRig) -> None:
    assert "No TenantModel is declared yet" in page_of(rig.get("/ui"))


def test_tenants_are_listed_with_their_reasons_and_filtered_by_them(rig: PageRig) -> None:
    rig.add("ann", ready(model_id("ann")), model_id=model_id("ann"))
    rig.add("bob", stalled("ArtifactInvalid", "it is a picture", model_id("bob")))
    rig.add("cid")
    page = page_of(rig.get("/ui"))
    assert re.findall(r'<th scope="row"><a href="[^"]*">(\w+)</a>', page) == ["ann", "bob", "cid"]
    assert "it is a picture. Version 9f86d081 keeps serving" in page
    assert "every live server answers with it" not in page, "Ready needs no words"
    chips = re.findall(
        r'<a class="chip \w+" href="([^"]*)" aria-current="(\w+)"><span>([^<]*)</span> <b>(\d+)', page
    )
    assert [(title, int(count)) for _, _, title, count in chips] == [
        ("All", 3),
        ("Ready", 1),
        ("Not Ready", 2),
        ("ArtifactInvalid", 1),
        ("Undecided", 1),
    ]
    shown = {title: page_of(rig.get(html.unescape(href))) for href, _, title, _ in chips}
    rows = {
        title: re.findall(r'<th scope="row"><a href="[^"]*">(\w+)</a>', p) for title, p in shown.items()
    }
    assert rows == {
        "All": ["ann", "bob", "cid"],
        "Ready": ["ann"],
        "Not Ready": ["bob", "cid"],
        "ArtifactInvalid": ["bob"],
        "Undecided": ["cid"],
    }
    assert 'aria-current="true"><span>Not Ready' in shown["Not Ready"]


def test_pages_are_followed_by_links_and_keep_the_search(rig: PageRig) -> None:
    for number in range(120):
        rig.add(f"store-{number:03d}", ready("file:///m"))
    seen: list[str] = []
    target = "/ui?q=STORE"
    while target:
        page = page_of(rig.get(target))
        seen += re.findall(r'<th scope="row"><a href="[^"]*">([\w-]+)</a>', page)
        links = {rel: html.unescape(href) for href, rel in re.findall(r'href="([^"]*)" rel="(\w+)"', page)}
        assert set(links) <= {"first", "prev", "next"}
        target = links.get("next", "")
    assert seen == [f"store-{number:03d}" for number in range(120)]
    back = page_of(rig.get(links["prev"]))
    assert re.findall(r'<th scope="row"><a href="[^"]*">([\w-]+)</a>', back) == seen[50:100]
    assert 'value="STORE"' in back


@pytest.mark.parametrize("place", ["", "[]", "[1,2]", '["a"]', "nonsense", '["\\u0000","a"]', "[" * 50_000])
def test_a_place_that_is_none_is_the_first_page(rig: PageRig, place: str) -> None:
    rig.add("ann")
    for name in ("after", "before"):
        answer = rig.get(f"/ui?{name}={place}")
        assert answer.status == 200
        assert ">ann</a>" in page_of(answer)


def test_one_tenant_says_what_answers_why_it_is_not_ready_and_what_to_do(rig: PageRig) -> None:
    before, candidate = model_id("ann"), "s3://models/new.skops#sha256=" + "abcdef01" * 8
    uid = rig.add("ann", stalled("AnswersDiffer", "row 3 differs", before))
    row = Assignment("ann", uid, 2, before, candidate_id=candidate)
    rig.operator.commit(Writes(assignments=[row]))
    rig.rows.report(
        [LoadReport("ann", "server-0", candidate, LoadState.FAILED, None, "AnswersDiffer", "why")]
    )
    rig.operator.faults().write([Fault("ann", "server-0", before, "ModelCrashed", "SIGSEGV")], [])
    rig.renew(busiest={"ann": 0.125})
    page = page_of(rig.get(f"/ui/tenants/{uid}"))
    for words in (
        "AnswersDiffer",
        "row 3 differs. Version 9f86d081 keeps serving",
        "<b>What to do:</b> Train it with the libraries",
        "Answers now",
        "Loading",
        "abcdef01",
        "Declared",
        "s3://models/ann.skops",
        "why",
        "SIGSEGV",
        "12.5% of a core",
        "/ui/servers/server-0",
    ):
        assert words in page, words


def test_what_was_not_decided_yet_is_said_so(rig: PageRig) -> None:
    page = page_of(rig.get(f"/ui/tenants/{rig.add('ann')}"))
    assert "The operator has not decided about it yet." in page
    assert "No version answers yet." in page
    assert "does it lead?" in page


@pytest.mark.parametrize(
    "path", ["/ui/tenants/none", "/ui/tenants/%00", "/ui/servers/none", "/ui/x", "/ui/a/b/c"]
)
def test_what_is_not_there_is_404(rig: PageRig, path: str) -> None:
    answer = rig.get(path)
    assert answer.status == 404
    assert "To all tenants" in page_of(answer)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_of_a_stranger_is_more_than_text(rig: PageRig, attack: str) -> None:
    """Names, messages, ids of models, cards, answers, servers' words, and what a visitor typed."""
    own = model_id("ann") + f"&method={attack}"
    uid = rig.add("ann", stalled(attack[:60], attack, own), model_id=own, name=attack, namespace="team")
    rig.rows.report([LoadReport("ann", "server-0", attack, LoadState.FAILED, None, attack[:60], attack)])
    rig.operator.faults().write([Fault("ann", "server-0", attack, attack[:60], attack)], [])
    columns = [{"name": attack, "kind": "category", "dtype": attack, "categories": [attack]}]
    rig.server.answers["/cards/ann"] = 200, {}, card(columns=columns, rows=[{attack: attack}])
    said = {"Tenantry-Model-Id": "m<b>", "Tenantry-Server": "<i>"}
    rig.server.answers["/predict/ann"] = 200, said, attack.encode()
    worker = {"pid": attack, "role": attack, "needs": attack, "models": attack, "residentBytes": 1}
    worker |= {"busy": True, "waiting": attack, "slow": False}
    workers = {"workers": [worker], "strikes": {attack: {"count": attack, "latest": attack}}, "ended": {}}
    rig.server.answers["/workers"] = 200, {}, json.dumps(workers).encode()
    rig.server.answers["/metrics"] = 200, {}, f'tenantry_requests_total{{code="{attack}"}} 1'.encode()
    one = page_of(rig.get(f"/ui/tenants/{uid.replace(' ', '%20')}")) if "/" not in uid else ""
    pages = [
        page_of(rig.get("/ui")),
        page_of(rig.get("/ui/servers")),
        page_of(rig.get("/ui/servers/server-0")),
    ]
    from urllib.parse import quote  # noqa: PLC0415

    target = f"/ui/tenants/{quote(uid, safe='')}"
    one = page_of(rig.get(target))
    token = re.findall(r'name="token" value="(\w+)"', one)[0]
    tried = page_of(rig.post(f"{target}/predict", {"token": token, "c0": attack}))
    refused = page_of(rig.post(f"{target}/predict", {"token": attack, "c0": attack, "rows": attack}))
    searched = page_of(rig.get(f"/ui?q={quote(attack)}&reason={quote(attack)}&after={quote(attack)}"))
    missing = page_of(rig.get(f"/ui/{quote(attack, safe='')}"))
    for page in (*pages, one, tried, refused, searched, missing):
        _harmless(page)
        assert all(link.startswith(("/ui", "#main")) for link in _links(page)), _links(page)
    assert html.escape(attack[:8]) in pages[0] or "\ufffd" in pages[0]
    assert "answered by" in tried


def test_servers_show_their_shards_memory_and_load(rig: PageRig) -> None:
    page = page_of(rig.get("/ui/servers"))
    assert "1 live; 1,024 shards, 0 of them being handed over" in page
    assert (
        '<meter min="0" max="1" value="0.125" aria-label="Model cache">64.0 MiB of 512.0 MiB</meter>'
        in page
    )
    assert ">25%</meter>" in page


def test_one_server_shows_its_workers_and_what_it_counted(rig: PageRig) -> None:
    worker = {"pid": 42, "role": "keeps models", "needs": None, "models": 3, "residentBytes": 3 << 20}
    worker |= {"busy": False, "waiting": 0, "slow": True}
    workers = {
        "workers": [worker],
        "strikes": {"file:///m": {"count": 2, "latest": "SIGSEGV"}},
        "ended": {},
    }
    rig.server.answers["/workers"] = 200, {}, json.dumps(workers).encode()
    rig.server.answers["/metrics"] = 200, {}, b'tenantry_requests_total{code="200"} 1234\n'
    page = page_of(rig.get("/ui/servers/server-0"))
    for words in ("42", "keeps models", "3.0 MiB", "slow", "file:///m", "SIGSEGV", "1,234"):
        assert words in page, words


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"workers": [1]}', b'{"workers": [{}]}', b"[" * 100_000]
)
def test_a_server_that_answers_nonsense_leaves_the_rest_of_its_page(rig: PageRig, body: bytes) -> None:
    rig.server.answers["/workers"] = rig.server.answers["/metrics"] = 200, {}, body
    page = page_of(rig.get("/ui/servers/server-0"))
    assert "Its workers are not known" in page
    assert rig.server.url in page


def test_a_server_that_does_not_answer_leaves_the_rest_of_its_page(rig: PageRig) -> None:
    uid = rig.add("ann", ready(model_id("ann")), model_id=model_id("ann"))
    rig.server.close()
    page = page_of(rig.get("/ui/servers/server-0"))
    assert "server-0 did not answer" in page
    page = page_of(rig.get(f"/ui/tenants/{uid}"))
    assert "The card is not known: server-0 did not answer" in page
    assert "s3://models/ann.skops" in page


def test_a_registry_that_is_gone_is_503_and_the_page_comes_back_with_it(rig: PageRig) -> None:
    with rig.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE claims RENAME TO away")
    answer = rig.get("/ui")
    assert answer.status == 503
    assert "The registry does not answer" in page_of(answer)
    with rig.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO claims")
    assert rig.get("/ui").status == 200


def test_a_page_names_its_parts_for_screen_readers(rig: PageRig) -> None:
    """Landmarks, one heading of the first rank, captions, headers of rows and columns, labels of inputs."""
    rig.server.answers["/cards/ann"] = 200, {}, card()
    uid = rig.add("ann", Status(State.READY, "Ready", "", 1, model_id("ann")), model_id=model_id("ann"))
    for target in ("/ui", f"/ui/tenants/{uid}", "/ui/servers", "/ui/servers/server-0"):
        page = page_of(rig.get(target))
        assert page.startswith('<!doctype html>\n<html lang="en"')
        assert len(re.findall(r"<h1>", page)) == len(re.findall(r"<main ", page)) == 1
        assert '<a class="skip" href="#main">' in page
        assert '<nav aria-label="Main">' in page
        assert page.count("<table>") == page.count("<caption") == page.count("</caption>")
        for row in re.findall(r"<tbody>.*?</tbody>", page, flags=re.DOTALL):
            assert row.count("<tr>") == row.count('<th scope="row"') + row.count('colspan="')
        assert "<th>" not in page
        labels = set(re.findall(r'<label for="(\w+)"', page))
        shown = re.findall(r'<(?:input|select|textarea)(?![^>]*type="hidden")[^>]* id="(\w+)"', page)
        assert set(shown) == labels
        ids = re.findall(r' id="([\w-]+)"', page)
        assert len(ids) == len(set(ids))
        for labelled in re.findall(r'aria-labelledby="([\w-]+)"', page):
            assert labelled in ids
        assert '<span id="live" role="status">' in page


def test_requests_and_errors_of_a_tenant_are_those_that_servers_counted(rig: PageRig) -> None:
    uid = rig.add("a+b", ready(model_id("a+b")), model_id=model_id("a+b"))
    tenant = {"userId": "a+b", "requests": 1234, "errors": 0, "clientErrors": 0, "serverErrors": 0}
    tenant |= {"timeouts": 0, "limited": 0, "latency": {"counts": [1234, 0]}}
    counted = json.dumps({"latencyBoundsSeconds": [0.001], "tenants": [tenant]}).encode()
    target = f"/ui/tenants/{uid}"
    rig.server.answers["/tenants/top?user_id=a%2Bb"] = 200, {}, counted
    page = page_of(rig.get(target))
    assert "1,234" in page
    assert "1.00 ms" in page
    rig.server.answers["/tenants/top?user_id=a%2Bb"] = 403, {}, b"{}"
    assert "TENANTRY_OPEN_LISTS" in page_of(rig.get(target))
    rig.server.answers["/tenants/top?user_id=a%2Bb"] = 200, {}, b"[]"
    assert "not known" in page_of(rig.get(target))

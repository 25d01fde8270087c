"""Who may see the page, whose forms are believed, and to whom a key is shown."""

import re

import pytest

from tenantry.registry import Scope
from tests.support.operator.page_rig import (
    HOST,
    SECRET,
    PageRig,
    basic,
    card,
    model_id,
    page_of,
    ready,
)

ROWS = {"rows": "[[1.5]]"}


def _tenant(rig: PageRig, user_id: str = "ann") -> str:
    rig.server.answers[f"/cards/{user_id}"] = 200, {}, card()
    rig.server.answers[f"/predict/{user_id}"] = 200, {"Tenantry-Server": "server-0"}, b"[3.5]"
    return rig.add(user_id, ready(model_id(user_id)), model_id=model_id(user_id))


def _token(rig: PageRig, uid: str, headers: dict[str, str] | None = None) -> str:
    page = page_of(rig.get(f"/ui/tenants/{uid}", headers))
    return str(re.findall(r'name="token" value="(\w+)"', page)[0])


def _asked(rig: PageRig) -> list[str]:
    return [f"{method} {path}" for method, path, _, _ in rig.server.asked if method == "POST"]


@pytest.mark.parametrize("path", ["/ui", "/ui/servers", "/ui/events", "/ui/assets/page.js", "/ui/none"])
def test_with_keys_nothing_is_shown_without_an_admins_key_for_every_user(
    guarded: PageRig, path: str
) -> None:
    keys = guarded.operator.keys()
    _tenant(guarded)
    over = keys.create(["*"], Scope.ADMIN, -1.0)
    some = keys.create(["store-*"], Scope.ADMIN, None)
    predicts = keys.create(["*"], Scope.PREDICT, None)
    for headers in (
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic nonsense"},
        {"Authorization": "Basic ///8="},
        {"Authorization": f"Digest {predicts}"},
        {"Authorization": "Bearer " + "x" * 100_000},
        basic(""),
        *(basic(key) for key in (over, some, predicts)),
        *({"Authorization": f"Bearer {key}"} for key in (over, some, predicts)),
    ):
        answer = guarded.get(path, headers)
        assert answer.status == 401, headers
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert "ann" not in page_of(answer)


def test_an_admins_key_opens_the_page_until_it_is_revoked(guarded: PageRig) -> None:
    keys = guarded.operator.keys()
    key = keys.create(["*"], Scope.ADMIN, None)
    _tenant(guarded)
    for headers in (basic(key), {"Authorization": f"Bearer {key}"}):
        assert ">ann</a>" in page_of(guarded.get("/ui", headers))
    keys.revoke([each.key_id for each in keys.all()])
    assert guarded.get("/ui", basic(key)).status == 401


def test_a_stream_ends_when_its_key_is_revoked(guarded: PageRig) -> None:
    keys = guarded.operator.keys()
    key = keys.create(["*"], Scope.ADMIN, None)
    answer = guarded.get("/ui/events", basic(key))
    assert not isinstance(answer.body, bytes)
    assert next(answer.body).startswith(b"retry")
    assert next(answer.body).startswith(b"id: ")
    keys.revoke([each.key_id for each in keys.all()])
    assert list(answer.body) == []


def test_an_open_page_answers_at_addresses_alone(rig: PageRig) -> None:
    """A site may point its own name to 127.0.0.1 and read, as its own, what answers there."""
    for host in ("127.0.0.1", HOST, "localhost:8081", "[::1]:8081", "10.0.0.7"):
        assert rig.get("/ui", {"Host": host}).status == 200, host
    for host in ("evil.example", "evil.example:8081", "localhost.evil.example", "", "x@127.0.0.1", "[::1"):
        assert rig.get("/ui", {"Host": host}).status == 403, host


def test_a_page_that_asks_for_keys_answers_at_any_name(guarded: PageRig) -> None:
    key = guarded.operator.keys().create(["*"], Scope.ADMIN, None)
    assert guarded.get("/ui", basic(key) | {"Host": "tenantry.example"}).status == 200


def test_a_prediction_is_asked_of_the_owner_with_what_was_filled_in(rig: PageRig) -> None:
    uid = _tenant(rig)
    token = _token(rig, uid)
    answer = rig.post(f"/ui/tenants/{uid}/predict", {"token": token, "c0": "2.5", "c1": "DL"})
    assert answer.status == 200
    assert "3.5" in page_of(answer)
    assert "answered by server-0" in page_of(answer)
    ((method, path, headers, body),) = [each for each in rig.server.asked if each[0] == "POST"]
    assert (method, path, body) == ("POST", "/predict/ann", b'[{"km": 2.5, "carrier": "DL"}]')
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[evil"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json"},
    ],
)
def test_a_form_of_another_site_is_not_sent_on(rig: PageRig, headers: dict[str, str]) -> None:
    """Even where it has the token: each of the three marks is enough."""
    uid = _tenant(rig)
    answer = rig.post(f"/ui/tenants/{uid}/predict", ROWS | {"token": _token(rig, uid)}, headers)
    assert answer.status == 403
    assert "Send it again" in page_of(answer)
    assert _asked(rig) == []


@pytest.mark.parametrize("token", ["", "0" * 64, "\udcff"])
def test_a_form_without_the_token_of_this_page_is_not_sent_on(rig: PageRig, token: str) -> None:
    uid = _tenant(rig)
    fields = ROWS | {"token": token.encode("utf-8", "replace").decode()}
    assert rig.post(f"/ui/tenants/{uid}/predict", fields).status == 403
    assert _asked(rig) == []


def test_a_token_is_of_one_visitor(guarded: PageRig) -> None:
    keys = guarded.operator.keys()
    mine, other = (keys.create(["*"], Scope.ADMIN, None) for _ in range(2))
    uid = _tenant(guarded)
    guarded.server.secret = SECRET
    fields = ROWS | {"token": _token(guarded, uid, basic(mine))}
    assert guarded.post(f"/ui/tenants/{uid}/predict", fields, basic(other)).status == 403
    assert guarded.post(f"/ui/tenants/{uid}/predict", fields, basic(mine)).status == 200
    assert _asked(guarded) == ["POST /predict/ann"]


def test_a_key_is_shown_to_a_server_that_proves_itself_and_to_no_other(guarded: PageRig) -> None:
    """A row of the table of servers, invented by its writer, could else collect the keys of admins."""
    key = guarded.operator.keys().create(["*"], Scope.ADMIN, None)
    uid = _tenant(guarded)
    token = _token(guarded, uid, basic(key))
    for secret in ("", "another"):
        guarded.server.secret = secret
        for target in (f"/ui/tenants/{uid}", "/ui/servers/server-0"):
            assert "does not prove that it is of this fleet" in page_of(guarded.get(target, basic(key)))
        answer = guarded.post(f"/ui/tenants/{uid}/predict", ROWS | {"token": token}, basic(key))
        assert "does not prove that it is of this fleet" in page_of(answer)
    assert guarded.server.asked == []
    guarded.server.secret = SECRET
    answer = guarded.post(f"/ui/tenants/{uid}/predict", ROWS | {"token": token}, basic(key))
    assert "3.5" in page_of(answer)
    assert {headers["authorization"] for *_, headers, _ in guarded.server.asked} == {f"Bearer {key}"}


def test_the_page_is_no_proxy(rig: PageRig) -> None:
    """No redirect is followed, no path and no server comes from the request, no answer is endless."""
    elsewhere = f"{rig.server.url}/secret"
    uid = _tenant(rig)
    token = {"token": _token(rig, uid)}
    rig.server.answers["/predict/ann"] = 302, {"Location": elsewhere}, b""
    assert ">302<" in page_of(rig.post(f"/ui/tenants/{uid}/predict", ROWS | token))
    rig.server.answers["/predict/ann"] = 200, {}, b"x" * (4 << 20)
    assert len(page_of(rig.post(f"/ui/tenants/{uid}/predict", ROWS | token))) < 100_000
    extra = {"url": elsewhere, "endpoint": elsewhere, "server": elsewhere, "path": "/secret"}
    rig.post(f"/ui/tenants/{uid}/predict?url={elsewhere}", ROWS | token | extra)
    odd = rig.add("ann/../../v2", ready(model_id("odd")), model_id=model_id("odd"), name="odd")
    page = page_of(rig.post(f"/ui/tenants/{odd}/predict", ROWS | token))
    assert "is not a user id that a server can be asked for" in page
    for path in (f"/ui/tenants/{uid}/load", "/ui/predict", "/ui/servers/server-0/workers", "/ui"):
        assert rig.post(path, ROWS | token).status == 404
    assert {path for _, path, _, _ in rig.server.asked} <= {
        "/cards/ann",
        "/predict/ann",
        "/tenants/top?user_id=ann",
    }


def test_without_a_live_server_the_form_says_so(rig: PageRig) -> None:
    uid = _tenant(rig)
    token = _token(rig, uid)
    rig.rows.release()
    page = page_of(rig.post(f"/ui/tenants/{uid}/predict", ROWS | {"token": token}))
    assert "no model server is live; start one" in page
    assert "[[1.5]]" in page, "what was filled in stays"


def test_a_model_that_errs_is_shown_with_its_own_words(rig: PageRig) -> None:
    uid = _tenant(rig)
    rig.server.answers["/predict/ann"] = (
        422,
        {},
        b'{"error": {"reason": "FeatureMismatch", "message": "km"}}',
    )
    page = page_of(rig.post(f"/ui/tenants/{uid}/predict", ROWS | {"token": _token(rig, uid)}))
    assert ">422<" in page
    assert "FeatureMismatch" in page

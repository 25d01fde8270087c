"""What a client asks again, whom, and when it stops."""

import json
from collections.abc import Mapping, Sequence

import pytest

from tenantry.client import errors
from tenantry.client.answers import Reply
from tenantry.client.call import Call
from tenantry.client.fleet import Fleet
from tenantry.client.questions import Question
from tenantry.placement import SHARDS, rendezvous, shard_of

A, B, C = "http://a:1", "http://b:1", "http://c:1"
PREDICT = Question("ann", "/predict/ann", b"[]")
OK = Reply(200, {}, b"[]")


class Clock:
    """Moves when it is told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def document(owner: str, servers: Sequence[str] = (A, B, C), revision: int = 5) -> bytes:
    """A map in which one server, named by its URL, owns everything."""
    ids = [{"id": url[7], "url": url} for url in servers]
    return json.dumps(
        {"revision": revision, "servers": ids, "owners": [servers.index(owner)] * SHARDS}
    ).encode()


def refusal(status: int, reason: str, **headers: str) -> Reply:
    body = json.dumps({"error": {"reason": reason, "message": "words"}}).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet(clock: Clock) -> Fleet:
    """The client was given a; b owns everything."""
    fleet = Fleet([A], direct=True, clock_s=clock)
    assert fleet.wants_map()
    fleet.map_read('"1"', document(B))
    return fleet


@pytest.fixture
def call(fleet: Fleet, clock: Clock) -> Call:
    return Call(PREDICT, fleet, timeout_s=10.0, clock_s=clock)


def next_in_line() -> list[str]:
    return [f"http://{server}:1" for server in rendezvous(shard_of("ann"), "abc") if server != "b"]


def test_the_owner_is_asked_and_then_those_next_in_line(call: Call) -> None:
    """As servers choose, so that a request whose owner is gone goes where the shard will."""
    asked = []
    for _ in range(3):
        attempt = call.next()
        asked.append(attempt.url)
        call.not_sent(attempt, "refused")
    assert asked == [B, *next_in_line()]


def test_a_server_that_refused_is_asked_last_for_a_while(fleet: Fleet, clock: Clock, call: Call) -> None:
    call.not_sent(call.next(), "refused")
    assert fleet.order("ann")[-1] == B
    clock.now_s += 1.0  # more than the first wait and its jitter
    assert fleet.order("ann")[0] == B


def test_where_nobody_listens_the_call_ends(call: Call) -> None:
    def until_it_ends() -> None:
        for _ in range(100):
            call.not_sent(call.next(), "refused")

    with pytest.raises(errors.NoServer, match="http://a:1: refused") as ended:
        until_it_ends()
    assert ended.value.reason == "NoServer"


def test_a_request_that_broke_is_not_repeated(call: Call) -> None:
    attempt = call.next()
    with pytest.raises(errors.AnswerLost, match="not repeated"):
        call.lost(attempt, "reset")


def test_what_runs_no_model_is_repeated(fleet: Fleet, clock: Clock) -> None:
    call = Call(Question("ann", "/v2/models/ann"), fleet, timeout_s=10.0, clock_s=clock)
    call.lost(call.next(), "reset")
    assert call.next().url == next_in_line()[0]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refusal(404, "ModelNotAssigned"), errors.NotAssigned),
        (refusal(422, "FeatureMismatch"), errors.RequestRefused),
        (refusal(500, "ModelCrashed", retry_after="1"), errors.ModelFailed),
        (refusal(500, "ServersLost"), errors.ModelFailed),
        (refusal(507, "ModelTooLarge"), errors.ModelFailed),
        (refusal(504, "PredictionTimeout"), errors.DeadlineExceeded),
        (refusal(503, "ModelStalled"), errors.Unavailable),
        (refusal(503, "ModelQuarantined", retry_after="1"), errors.Unavailable),
        (refusal(503, "ModelLoading", retry_after="30"), errors.Unavailable),
        (refusal(301, "Moved"), errors.ClientError),
    ],
)
def test_errors_come_with_the_servers_words_and_at_once(
    call: Call, reply: Reply, kind: type[errors.ClientError]
) -> None:
    """Of these nothing is asked again: it ran the model, or time does not mend it, or not in time."""
    attempt = call.next()
    with pytest.raises(errors.ClientError) as raised:
        call.answered(attempt, reply)
    assert type(raised.value) is kind
    assert raised.value.status == reply.status
    if reply.status >= 400:
        assert (raised.value.reason, str(raised.value)) == (
            json.loads(reply.body)["error"]["reason"],
            "words",
        )
    assert raised.value.retry_after_s == reply.retry_after_s


@pytest.mark.parametrize(("reason", "other"), [("LeaseLost", True), ("ModelNotReady", False)])
def test_503_is_asked_again_after_the_wait_three_times(call: Call, reason: str, other: bool) -> None:
    """At another server, unless what it says is of the model."""
    asked = []

    def until_it_ends() -> None:
        for _ in range(100):
            attempt = call.next()
            asked.append((attempt.url, attempt.wait_s))
            assert call.answered(attempt, refusal(503, reason, retry_after="1")) is None

    with pytest.raises(errors.Unavailable) as raised:
        until_it_ends()
    assert raised.value.reason == reason
    assert [wait_s for _, wait_s in asked] == [0.0, 1.0, 1.0, 1.0]
    assert (asked[0][0] != asked[1][0]) is other


def test_a_wait_counts_against_the_time(call: Call, clock: Clock) -> None:
    """The server is told how long it may take, a little less than this client waits."""
    clock.now_s += 4.0
    assert call.answered(call.next(), refusal(503, "LeaseLost", retry_after="2")) is None
    attempt = call.next()
    assert (attempt.wait_s, attempt.left_s) == (2.0, 4.0)
    assert attempt.headers["Tenantry-Timeout-Ms"] == "3600"
    clock.now_s += 7.0
    with pytest.raises(errors.Unavailable):  # the server's words say more than the clock
        call.next()


def test_the_time_of_a_call_ends_it(call: Call, clock: Clock) -> None:
    clock.now_s += 10.0
    with pytest.raises(errors.DeadlineExceeded, match="within 10 s"):
        call.next()


@pytest.mark.parametrize(
    ("headers", "again"), [({}, False), ({"tenantry-shards": "5"}, False), ({"tenantry-shards": "6"}, True)]
)
def test_the_map_is_read_again_once_an_answer_names_a_newer(
    fleet: Fleet,
    clock: Clock,
    call: Call,
    headers: Mapping[str, str],
    again: bool,
) -> None:
    clock.now_s += 2.0
    assert call.answered(call.next(), Reply(200, headers, b"[]")) is not None
    assert fleet.wants_map() is again
    assert not fleet.wants_map()  # one caller reads it, and not again at once
    clock.now_s += 31.0
    assert fleet.wants_map()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"revision": 1, "servers": [{"id": "a", "url": "file:///etc"}], "owners": []}',
        b'{"revision": 1, "servers": [], "owners": [null]}',
        document(A).replace(b"http://a:1", b"http://a:port"),
        document(A).replace(b"[0, ", b'["x", '),
        document(A).replace(b'"revision": 5', b'"revision": 1e999'),
    ],
)
def test_what_is_not_a_map_changes_nothing(fleet: Fleet, body: bytes) -> None:
    before = fleet.order("ann")
    fleet.map_read('"2"', body)
    assert (fleet.order("ann"), fleet.map_question("ann").headers) == (before, {"If-None-Match": '"1"'})


def test_a_map_does_not_lead_from_https_to_http() -> None:
    """Credentials that were given for the one would go over the other."""
    fleet = Fleet(["https://door"], direct=True)
    fleet.map_read('"1"', document(B))
    assert fleet.order("ann") == ["https://door"]


def test_without_the_map_the_given_servers_take_turns() -> None:
    fleet = Fleet([A, B], direct=False)
    assert not fleet.wants_map()
    assert [fleet.order("ann")[0] for _ in range(3)] == [A, B, A]


@pytest.mark.parametrize("url", ["", "a:1", "ftp://a", "http://", "http://a:port", "http://a?x=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|[Pp]ort"):
        Fleet([url], direct=True)

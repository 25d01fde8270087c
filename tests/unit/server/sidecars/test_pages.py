"""A first reading comes in pieces: none is large or trusted alone, and nothing is missed meanwhile."""

from typing import Any

import orjson
import pytest

from tenantry.processes.runtime import boot_clock_s
from tenantry.registry import Assignment, Changes, Holding
from tenantry_server.sidecars import messages, pages
from tenantry_server.sidecars.feed import Feed
from tenantry_server.sidecars.followed_table import FollowedTable
from tenantry_server.sidecars.following import ServerFollower

TENANTS = 2 * pages.ROWS + 500
LARGEST_BYTES = 1 << 20


def row(n: int, version: int = 1, revision: int = 1) -> Assignment:
    return Assignment(f"user-{n:06}", f"uid-{n}", version, f"file:///{n}#{version}", revision=revision)


class Server:
    """Has read everything, and holds its lease."""

    def __init__(self, tenants: int = TENANTS, revision: int = 1, history: str = "t") -> None:
        self.table = FollowedTable()
        self.feed = Feed(self.table)
        rows = [row(n) for n in range(tenants)]
        shards = {3: Holding("server-0", revision=1)}
        self.change(Changes(revision, True, rows, shards, {"user-000000": 2}, f"{history}{revision}"))
        self.table.contact.renewed(until_s=boot_clock_s() + 3600)

    def change(self, changes: Changes) -> None:
        self.table.apply(changes)
        self.feed.changed(changes)

    def update(self, n: int, revision: int) -> None:
        changed = [row(n, version=revision, revision=revision)]
        self.change(Changes(revision, False, changed, {}, token=f"t{revision}"))


class Follower:
    """Asks step by step."""

    def __init__(self, name: str = "pod") -> None:
        self.name = name
        self.table = FollowedTable()
        self.follower = ServerFollower(self.table, list, self._never)
        self.answers: list[bytes] = []

    @staticmethod
    async def _never(_url: str, _cursor: str) -> bytes:
        raise ConnectionError

    def ask(self, server: Server) -> messages.Answer:
        server.feed.heard(self.name, self.follower.cursor)
        body = server.feed.answer(self.name, self.follower.cursor)
        assert body is not None
        self.answers.append(body)
        answer = messages.decode(body)
        assert self.follower.take(answer, boot_clock_s())
        return answer

    def catch_up(self, server: Server) -> None:
        while self.ask(server).more:
            assert not self.table.lease_held
            assert not self.table.was_read


def test_tens_of_thousands_of_tenants_come_in_answers_of_bounded_size() -> None:
    server, pod = Server(40_000), Follower()
    pod.catch_up(server)
    assert len(pod.answers) == 40_000 // pages.ROWS
    assert max(map(len, pod.answers)) < LARGEST_BYTES
    assert pod.table.assigned() == server.table.assigned()
    assert pod.table.holdings == server.table.holdings
    assert pod.table.replicas_of("user-000000") == 2
    assert pod.table.lease_held


def test_what_changes_meanwhile_comes_with_the_last_piece() -> None:
    server, pod = Server(), Follower()
    pod.ask(server)
    server.update(0, revision=2)
    pod.ask(server)
    server.update(TENANTS - 1, revision=3)
    assert len(server.feed) == 0
    pod.ask(server)
    assert pod.table.lease_held
    assert pod.table.revision == 3
    assert pod.table.assigned() == server.table.assigned()
    assert server.feed.in_force()[0] == 3


def test_no_follower_is_waited_for_before_it_has_everything() -> None:
    """It trusts nothing until then, so nothing needs its word."""
    server, pod = Server(), Follower()
    pod.ask(server)
    server.update(0, revision=2)
    assert server.feed.in_force()[0] == 2
    assert not pod.table.lease_held


def test_a_reading_that_a_server_left_half_done_begins_again_at_another() -> None:
    first, second, pod = Server(), Server(TENANTS + 1, revision=9), Follower()
    pod.ask(first)
    pod.ask(first)
    pod.catch_up(second)
    assert pod.table.revision == 9
    assert pod.table.assigned() == second.table.assigned()


def test_a_reading_begins_again_where_the_server_itself_read_everything() -> None:
    server, pod = Server(), Follower()
    pod.ask(server)
    server.change(Changes(5, True, [row(7, 5, 5)], {}))
    pod.catch_up(server)
    assert pod.table.assigned() == {"user-000007": "file:///7#5"}


def test_pieces_are_written_once_for_all_who_start_together(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def encode(changes: Changes) -> bytes:
        written.append(changes)
        return orjson.dumps(changes, option=orjson.OPT_NON_STR_KEYS)

    monkeypatch.setattr(messages, "encode", encode)
    server = Server()
    pods = [Follower(f"pod-{n}") for n in range(20)]
    for pod in pods:
        pod.catch_up(server)
    assert len(written) == 3


def test_another_server_with_the_same_state_sends_nothing_again() -> None:
    """As when the one that was followed died: two hundred sidecars do not read everything at once."""
    first, second, pod = Server(), Server(), Follower()
    pod.catch_up(first)
    for server in (first, second):
        server.update(3, revision=2)
    pod.ask(first)
    assert not pod.ask(second).changes
    second.update(4, revision=3)
    assert [each.revision for each in pod.ask(second).changes] == [3]
    assert pod.table.assigned() == second.table.assigned()


def test_the_same_revision_of_another_history_is_another_state() -> None:
    first, second, pod = Server(), Server(3, history="other"), Follower()
    pod.catch_up(first)
    answer = pod.ask(second)
    assert answer.changes[0].complete
    assert pod.table.assigned() == second.table.assigned()


def piece(*, more: bool, complete: bool, revision: int = 1) -> dict[str, Any]:
    changes = Changes(revision, complete, [row(0)], {})
    body = messages.join("feed.1", 0.0 if more else 3.0, [messages.encode(changes)], more=more)
    return dict(orjson.loads(body))


@pytest.mark.parametrize(
    "last",
    [
        piece(more=False, complete=False, revision=2),
        piece(more=True, complete=False, revision=2),
        piece(more=False, complete=False) | {"changes": []},
    ],
    ids=["of another reading", "of another one again", "nothing"],
)
def test_pieces_that_do_not_fit_together_are_not_put_in_force(last: dict[str, Any]) -> None:
    pod = Follower()
    began_s = boot_clock_s()
    first = messages.decode(orjson.dumps(piece(more=True, complete=True)))
    assert pod.follower.take(first, began_s)
    assert not pod.follower.take(messages.decode(orjson.dumps(last)), began_s)
    assert not pod.table.was_read
    assert pod.follower.cursor == ""


def test_a_reading_that_begins_in_its_middle_is_not_begun() -> None:
    pod = Follower()
    middle = messages.decode(orjson.dumps(piece(more=True, complete=False)))
    assert not pod.follower.take(middle, boot_clock_s())

"""`tenantry get shards`: what a person sees of the map."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from tenantry.placement import SHARDS, shard_of
from tenantry.registry import Assignment, Holding, ServerRegistry, ServerReport, Writes, open_engine
from tenantry_cli.commands.looking.get import command
from tests.support.databases.migrated import migrate
from tests.support.tenants.operator_side import leading


class Shown:
    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/registry.db"
        self.engine: Engine = open_engine(self.url)
        migrate(self.engine)
        self.operator = leading(self.engine)

    def server(self, name: str, *, lease_s: float = 60.0, **said: Any) -> None:
        registry = ServerRegistry(self.engine, name, endpoint=f"http://{name}", capacity_bytes=4096)
        registry.renew(lease_s=lease_s, acked_revision=0, report=ServerReport(**said))

    def tenants(self, **sizes: int) -> None:
        rows = [
            Assignment(user, f"uid-{user}", 1, f"m-{user}", size_bytes=size) for user, size in sizes.items()
        ]
        self.operator.commit(Writes(assignments=rows))

    def get(self, *args: str) -> str:
        done = CliRunner().invoke(command, [*args, "--registry", self.url], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def json(self, *args: str) -> Any:
        return json.loads(self.get(*args, "-o", "json"))


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    shown = Shown(tmp_path)
    yield shown
    shown.engine.dispose()


@pytest.fixture
def moving(shown: Shown) -> Shown:
    """One server that lives, one that leaves and hands ann's shard over, one that died with bob's."""
    shown.server("a", used_bytes=2048, load=0.25)
    shown.server("b", leaving=True)
    shown.server("c", lease_s=-1.0, load=0.9)
    rows = dict.fromkeys(range(SHARDS), Holding("a"))
    rows |= {
        shard_of("ann"): Holding("b", "a"),
        shard_of("bob"): Holding("c"),
        shard_of("dan"): Holding("b"),
    }
    shown.operator.assign_shards(rows)
    shown.tenants(ann=1024, bob=100, cid=1024, dan=3072)
    return shown


def rows_of(text: str) -> dict[str, Sequence[str]]:
    """The words of each line, by the first one."""
    return {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}


def test_each_server_stands_there_with_what_it_holds(moving: Shown) -> None:
    table = rows_of(moving.get("shards"))
    assert table["SERVER"][:2] == ["STATE", "SHARDS"]
    assert table["a"] == ["live", "1021", "1", "1", "1.0", "KiB", "2.0", "KiB", "4.0", "KiB", "25%"]
    assert table["b"] == ["leaving", "2", "-", "2", "4.0", "KiB", "0", "B", "4.0", "KiB", "0%"]
    assert table["c"] == ["gone", "1", "-", "1", "100", "B", "-", "-", "-"]
    assert " ".join(table["1024"]) == "shards, 1 being handed over; the fullest holds 1.60 times the mean"


def test_as_json_the_whole_map_stands_there(moving: Shown) -> None:
    told = moving.json("shards")
    assert len(told["shards"]) == SHARDS
    assert told["shards"][str(shard_of("ann"))] == {"server": "b", "next": "a"}
    assert told["maxOverMean"] == 1.6
    assert told["servers"][0] == {
        "serverId": "a",
        "state": "live",
        "shards": 1021,
        "arriving": 1,
        "tenants": 1,
        "assignedBytes": 1024,
        "usedBytes": 2048,
        "capacityBytes": 4096,
        "load": 0.25,
    }


def test_a_user_is_found(moving: Shown) -> None:
    assert rows_of(moving.get("shards", "ann"))["ann"] == [str(shard_of("ann")), "b", "a", "b"]
    assert moving.json("shards", "nobody-yet")["server"] == "a"


def test_a_user_who_is_on_several_servers_is_found_on_each(moving: Shown) -> None:
    """As was measured, or declared: never more than are there."""
    moving.operator.set_spread({"cid": 2})
    assert moving.json("shards", "cid")["servers"] == ["a", "b"]
    ann = Assignment("ann", "uid-ann", 1, "m-ann", replicas=3)
    moving.operator.commit(Writes(assignments=[ann]))
    assert moving.json("shards", "ann")["servers"] == ["b", "a"]


def test_before_the_first_server_nothing_is_anywhere(shown: Shown) -> None:
    assert rows_of(shown.get("shards"))["0"][:4] == ["shards,", "0", "being", "handed"]
    assert shown.json("shards", "ann") == {"userId": "ann", "shard": shard_of("ann"), "servers": []}


def test_servers_show_how_busy_they_are(moving: Shown) -> None:
    assert rows_of(moving.get("servers"))["a"][-1] == "25%"
    assert [(each["serverId"], each["load"]) for each in moving.json("servers")] == [
        ("a", 0.25),
        ("b", 0.0),
    ]


def test_a_second_name_is_for_shards_only(shown: Shown) -> None:
    done = CliRunner().invoke(command, ["ann", "bob", "--registry", shown.url])
    assert done.exit_code == 2
    assert "only `tenantry get shards` and `tenantry get server` take a second name" in done.output

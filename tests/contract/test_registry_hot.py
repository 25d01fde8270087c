"""Whom each server answered last, as the registry keeps it, alike on SQLite and on PostgreSQL."""

from sqlalchemy import Engine, insert, update

from tenantry.registry import OperatorRegistry, ServerRegistry, schema
from tenantry.registry.engine import writing


def test_each_server_keeps_whom_it_answered_last(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    other = ServerRegistry(engine, "other", endpoint="", capacity_bytes=1)
    assert server.hot() == {}
    server.remember_hot({"ann": 3, "bob": 2})
    other.remember_hot({"cid": 1})
    server.remember_hot({"bob": 7, "a@b:~+": 0})
    server.release()  # which a server does before it is started again
    assert server.hot() == other.hot() == {"server-0": {"bob": 7, "a@b:~+": 0}, "other": {"cid": 1}}


def test_a_server_of_an_older_release_says_no_requests(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    row = {"server_id": "old", "user_ids": ["bob", "ann"], "seen_at": 0.0}
    with writing(engine) as connection:
        connection.execute(insert(schema.hot).values(row))
    assert list(server.hot()["old"].items()) == [("bob", 0), ("ann", 0)]


def test_counts_of_others_are_not_taken_for_those_of_whom_an_older_release_wrote(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    """It writes over a row, and leaves what it does not know."""
    server.remember_hot({"ann": 7, "bob": 3})
    with writing(engine) as connection:
        connection.execute(update(schema.hot).values(user_ids=["cid", "dan", "eve"]))
    assert server.hot() == {"server-0": {"cid": 0, "dan": 0, "eve": 0}}


def test_what_was_hot_long_ago_is_forgotten(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    server.remember_hot({"ann": 1})
    operator.sweep(forget_servers_s=0)
    assert server.hot() == {"server-0": {"ann": 1}}
    with writing(engine) as connection:
        connection.execute(update(schema.hot).values(seen_at=schema.hot.c.seen_at - 8 * 86400))
    operator.sweep(forget_servers_s=0)
    assert server.hot() == {}

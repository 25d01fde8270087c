"""API keys in the registry, by the command that makes them, on SQLite and PostgreSQL."""

import asyncio
from hashlib import sha256

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from tenantry.errors import InvalidSetting
from tenantry.registry import KeyBook, Scope
from tenantry_cli.commands.keys import command
from tenantry_server.access.keyring import KeyRing
from tests.support.databases.migrated import migrate


def digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


@pytest.fixture
def keys(engine: Engine) -> KeyBook:
    migrate(engine)
    return KeyBook(engine)


def test_a_key_is_shown_once_and_its_digest_is_kept(keys: KeyBook) -> None:
    key = keys.create(["store-*", "ann"], Scope.PREDICT, 60.0)
    (kept,) = keys.all()
    assert kept.digest == sha256(key.encode()).hexdigest()
    assert kept.users == ("store-*", "ann")
    assert key.startswith(f"tnt_{kept.key_id}_")
    assert kept.expires_at == pytest.approx(kept.created_at + 60.0, abs=1.0)


def test_a_revoked_key_ends_at_the_next_poll(keys: KeyBook) -> None:
    ring = KeyRing(keys)
    ring.read()
    key = keys.create(["store-*"], Scope.ADMIN, None)
    assert ring.find(digest(key)) is None
    ring.read()
    grant = ring.find(digest(key))
    assert grant is not None
    assert grant.admin
    assert grant.covers("store-1")
    assert not grant.covers("ann")
    assert not grant.all_users
    (kept,) = keys.all()
    assert keys.revoke([kept.key_id, "unknown"]) == [kept.key_id]
    ring.read()
    assert ring.find(digest(key)) is None


async def test_keys_are_followed(keys: KeyBook) -> None:
    ring = KeyRing(keys)
    following = asyncio.create_task(ring.follow(0.01))
    try:
        async with asyncio.timeout(180):
            while not ring.was_read:  # noqa: ASYNC110 - a thread reads
                await asyncio.sleep(0.01)
            key = await asyncio.to_thread(keys.create, ["*"], Scope.PREDICT, None)
            while ring.find(digest(key)) is None:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
    finally:
        following.cancel()
        await asyncio.wait([following])


def test_an_expired_key_is_worth_nothing(keys: KeyBook) -> None:
    ring = KeyRing(keys)
    key = keys.create(["*"], Scope.ADMIN, -1.0)
    ring.read()
    grant = ring.find(digest(key))
    assert grant is not None
    assert not grant.valid


@pytest.mark.parametrize("pattern", ["", "a b", "store/*", "ä", "a" * 254])
def test_a_pattern_has_the_letters_of_a_user_id(keys: KeyBook, pattern: str) -> None:
    with pytest.raises(InvalidSetting, match="not a pattern"):
        keys.create([pattern], Scope.PREDICT, None)


def test_the_command_makes_lists_and_revokes(keys: KeyBook, engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(command, [*arguments, "--registry", url])
        return done.exit_code, done.output

    status, key = run("create", "--for", "store-*", "--scope", "admin", "--expires", "90d")
    assert status == 0, key
    (kept,) = keys.all()
    assert kept.digest == sha256(key.strip().encode()).hexdigest()
    status, shown = run("list")
    assert status == 0
    assert shown.startswith(f"{kept.key_id}\tadmin\tstore-*\t")
    assert key.strip() not in shown
    result = CliRunner().invoke(
        command, ["revoke", kept.key_id, "none", "--registry", url], standalone_mode=False
    )
    assert result.return_value == 1
    assert keys.all() == []
    assert run("create", "--for", "a", "--expires", "soon")[0] == 2

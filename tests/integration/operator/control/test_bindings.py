"""A user stays with the namespace that declared it first, until an admin releases it."""

import pytest
from click.testing import CliRunner
from sqlalchemy import delete

from tenantry.registry import schema
from tenantry.registry.engine import writing
from tenantry_cli.commands.looking.users import command
from tenantry_operator.control import governing
from tests.support.operator.rig import Rig, Server, resync


@pytest.fixture(autouse=True)
def _released_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governing, "_RELEASES_EVERY_S", 0.0)


@pytest.fixture
def server(rig: Rig) -> Server:
    return Server(rig.engine, "s1")


@pytest.fixture
def robbed(rig: Rig, server: Server) -> Rig:
    """Team A had user ann and deleted its TenantModel; then team B declares her."""
    rig.declare("theirs", "a", user="ann", namespace="team-a")
    rig.until_ready(server)
    rig.delete("theirs")
    rig.step()
    rig.declare("robber", "b", user="ann", namespace="team-b", created_at=50.0)
    rig.until_ready(server)
    return rig


def users(rig: Rig, *arguments: str) -> tuple[int, str]:
    """What `tenantry users` says, and its exit status."""
    url = rig.engine.url.render_as_string(hide_password=False)
    result = CliRunner().invoke(command, [*arguments, "--registry", url], standalone_mode=False)
    assert result.exception is None, result.exception
    return int(result.return_value or 0), result.output


def test_another_namespace_can_not_take_a_user_between_its_delete_and_create(
    robbed: Rig, server: Server
) -> None:
    assert server.answer("ann") is None
    assert robbed.reason("robber") == "UserIdBound"
    robbed.declare("again", "c", user="ann", namespace="team-a", created_at=300.0)
    robbed.until_ready(server)
    assert robbed.status("again") == ("Ready", server.answer("ann"))
    assert robbed.reason("robber") == "UserIdConflict"


def test_the_binding_outlives_the_operator_and_an_edit_of_its_row(robbed: Rig, server: Server) -> None:
    robbed.restart()
    robbed.until_ready(server)
    assert robbed.reason("robber") == "UserIdBound"
    with writing(robbed.engine) as connection:
        connection.execute(delete(schema.bindings))
    resync(robbed)
    assert robbed.rows(schema.bindings) == [("ann", "team-a")]
    assert server.answer("ann") is None


def test_an_admin_releases_a_user_for_the_next_namespace(robbed: Rig, server: Server) -> None:
    assert users(robbed, "list") == (0, "ann\tteam-a\n")
    assert users(robbed, "list", "--namespace", "team-b") == (0, "")
    status, said = users(robbed, "release", "ann", "bob")
    assert status == 1, "bob belongs to no namespace"
    assert "ann: released from namespace team-a" in said
    robbed.until_ready(server)
    assert robbed.status("robber") == ("Ready", server.answer("ann"))
    assert users(robbed, "list") == (0, "ann\tteam-b\n")
    assert robbed.rows(schema.releases) == []


def test_a_release_takes_nobody_the_user_whose_tenantmodel_stands(rig: Rig, server: Server) -> None:
    rig.declare("theirs", "a", user="ann", namespace="team-a")
    rig.declare("robber", "b", user="ann", namespace="team-b", created_at=200.0)
    rig.until_ready(server)
    before = server.answer("ann")
    assert "team-a/theirs declares it and so keeps it" in users(rig, "release", "ann")[1]
    rig.until_ready(server)
    assert before == server.answer("ann")
    assert rig.rows(schema.bindings) == [("ann", "team-a")]


def test_what_never_parsed_or_was_denied_binds_nobody(rig: Rig, server: Server) -> None:
    rig.declare("broken", "a", user="ann", namespace="team-a")
    rig.breaks("broken")
    rig.until_ready(server)
    assert rig.rows(schema.bindings) == []

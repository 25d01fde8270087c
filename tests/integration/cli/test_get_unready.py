"""`tenantry get --unready`: who is not Ready, and why."""

from pathlib import Path

from click.testing import CliRunner

from tenantry.manifest.status import State, Status
from tenantry.registry import Claim, Writes, open_engine
from tenantry_cli.commands.looking.get import command
from tests.support.databases.migrated import migrate
from tests.support.tenants.operator_side import leading

LONG = (
    "s3://models/bob/7.joblib is not a usable model: it is [bold]not[/bold] a pickle; "
    + "publish it again " * 9
)


def _claim(user: str, status: Status | None, namespace: str = "default") -> Claim:
    return Claim(f"uid-{user}", namespace, user, user, 0.0, 1, {"model": {"uri": "s3://m/x"}}, status)


def test_each_has_its_message_whole_and_as_it_stands(tmp_path: Path) -> None:
    """No one has to ask for two hundred of them one by one; brackets are not markup."""
    url = f"sqlite:///{tmp_path}/registry.db"
    engine = open_engine(url)
    migrate(engine)
    operator = leading(engine)
    claims = [
        _claim("ann", Status(State.READY, "Ready", "fine", 1, "file:///m.joblib#sha256=aaaaaaaa11")),
        _claim("bob", Status(State.STALLED, "ArtifactInvalid", LONG, 1)),
        _claim("cid", Status(State.RECONCILING, "NoServer", "no model server has a lease", 1), "blue"),
        _claim("dan", None),
    ]
    operator.commit(Writes(claims=claims))
    done = CliRunner().invoke(command, ["--unready", "--registry", url], catch_exceptions=False)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0].split() == ["NAME", "USER", "REASON", "MESSAGE"]
    assert sorted(" ".join(line.split()) for line in lines[1:]) == [
        "blue/cid cid NoServer no model server has a lease",
        f"bob bob ArtifactInvalid {' '.join(LONG.split())}",
        "dan dan not read yet",
    ]
    assert "1 of 4 Ready" in done.stderr
    engine.dispose()

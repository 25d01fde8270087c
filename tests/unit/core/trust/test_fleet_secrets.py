"""The fleet's secrets, and how they are rotated."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from tenantry.errors import InvalidSetting
from tenantry.registry import Server, ServerReport
from tenantry.trust import fleet_secrets, proofs
from tenantry.trust.challenges import Challenges
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_server.access.hops import Hops
from tests.support.waiting import until

STEPS = ["old", "old\nnew", "new\nold", "new\n"]
ASKED = (b"here:1", b"POST", b"/predict/ann", b"7")


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("sooner", [True, False], ids=["it asks", "it is asked"])
def test_servers_one_step_apart_believe_one_another(step: int, sooner: bool) -> None:
    """So no request is refused, in whatever order processes see the change."""
    pair = [FleetSecrets(STEPS[step]), FleetSecrets(STEPS[step + 1])]
    asks, answers = pair if sooner else pair[::-1]
    assert Hops(answers, "here:1").holds(*ASKED[1:], Hops(asks, "x").proof(*ASKED))
    proof = proofs.proof(answers.current, "b", "http://b", "c")
    assert proofs.known(asks.accepted, "b", "http://b", "c", proof)


def test_a_secret_that_is_gone_counts_no_more() -> None:
    proof = Hops("old", "x").proof(*ASKED)
    assert Hops(FleetSecrets(STEPS[2]), "here:1").holds(*ASKED[1:], proof)
    assert not Hops(FleetSecrets(STEPS[3]), "here:1").holds(*ASKED[1:], proof)


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def rotate(tmp_path: Path, clock: list[float]) -> Callable[[str], FleetSecrets]:
    """Write a file of secrets; the first time, return what reads it."""
    file = tmp_path / "secrets"
    made: list[FleetSecrets] = []

    def write(text: str) -> FleetSecrets:
        file.write_text(text)
        if not made:
            made.append(FleetSecrets(text, file, lambda: clock[0]))
        clock[0] += 1.0
        return made[0]

    return write


def test_a_file_is_followed(rotate: Callable[[str], FleetSecrets]) -> None:
    secrets = rotate(STEPS[0])
    seen = [secrets.accepted]
    for step in STEPS[1:]:
        rotate(step)
        seen.append(secrets.accepted)
    assert seen == [("old",), ("old", "new"), ("new", "old"), ("new",)]


@pytest.mark.parametrize("broken", ["", " \n", "a\nb\nc\nd\ne"], ids=["empty", "blank", "too many"])
def test_a_file_that_is_broken_changes_nothing(
    rotate: Callable[[str], FleetSecrets], broken: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may be half written: what was read last holds."""
    secrets = rotate("old")
    rotate(broken)
    assert secrets.accepted == ("old",)
    rotate("new")
    assert secrets.accepted == ("new",)
    shown = "".join(capfd.readouterr())
    assert "can't be read" in shown
    assert "accepted" not in shown


def test_the_settings_name_one_place(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    with pytest.raises(InvalidSetting, match="TENANTRY_FLEET_SECRET_FILE"):
        fleet_secrets.of_settings(None, file)
    file.write_text("a\nb\n")
    found = fleet_secrets.of_settings(None, file)
    assert found is not None
    assert found.accepted == ("a", "b")
    with pytest.raises(InvalidSetting, match="not both"):
        fleet_secrets.of_settings(SecretStr("a"), file)
    assert fleet_secrets.of_settings(SecretStr(""), None) is None, (
        "an empty one would be known to everybody"
    )


def test_who_knew_only_the_old_secret_loses_its_place(
    rotate: Callable[[str], FleetSecrets], clock: list[float]
) -> None:
    """The thief has proved itself before; those that know the new one stay all the while."""
    secrets = rotate(STEPS[0])
    knows = {"honest": "old", "thief": "old"}
    servers = [Server(name, f"http://{name}", 0, 10.0, 1, ServerReport()) for name in knows]

    def ask(endpoint: str, path: str) -> str:
        name = endpoint.removeprefix("http://")
        return proofs.proof(knows[name], name, endpoint, path.removeprefix(proofs.PATH))

    challenges = Challenges(secrets, ask=ask)

    def believed() -> set[str]:
        return {server.server_id for server in challenges.proven(servers)}

    try:
        until(lambda: believed() == {"honest", "thief"}, "both prove the old secret")
        rotate(STEPS[1])
        assert believed() == {"honest", "thief"}
        rotate(STEPS[2])
        knows["honest"] = "new"
        assert believed() == {"honest", "thief"}
        rotate(STEPS[3])
        seen: list[set[str]] = []

        def alone() -> bool:
            seen.append(believed())
            return seen[-1] == {"honest"}

        until(alone, "the thief is out")
        assert all("honest" in each for each in seen)
    finally:
        challenges.close()

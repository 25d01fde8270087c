"""Waiting for versions: what ends it, with which status and words."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tenantry import TenantModel
from tenantry.errors import RegistryUnavailable
from tenantry.manifest import status
from tenantry.manifest.status import State, Status
from tenantry.registry import Claim, RegistryReader, Writes, open_engine
from tenantry_cli.commands.artifacts.publish import command
from tenantry_cli.declaring import registry as of_registry
from tenantry_cli.declaring import waiting
from tests.support.databases.migrated import migrate
from tests.support.tenants.operator_side import leading


def declared(name: str = "ann") -> TenantModel:
    model = {"uri": f"s3://models/{name}.joblib", "sha256": "ab" * 32}
    return TenantModel.parse(
        {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": name},
            "spec": {"userId": name, "model": model},
        }
    )


def seen(of: TenantModel, state: State, reason: str = "Because") -> Mapping[str, Any]:
    said = Status(state, reason, "the operator's words", 1, str(of.spec.model.pinned()))
    return {
        "metadata": {"generation": 1},
        "spec": of.to_manifest()["spec"],
        "status": {
            "observedGeneration": 1,
            "modelId": said.model_id,
            "conditions": status.conditions(said, status.since(None, {}, said, 0.0)),
        },
    }


class Clock:
    """Time that passes when somebody pauses."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pause(self, for_s: float) -> None:
        self.now_s += for_s


def wait(
    looks: Mapping[str, list[Any]], *, timeout_s: float = 10.0, generations: Mapping[str, int] | None = None
) -> float:
    """Wait for each named TenantModel, which shows one thing after the other; return how long it took."""
    clock = Clock()
    turns: dict[str, Iterator[Any]] = {name: iter(each) for name, each in looks.items()}
    last: dict[str, Any] = {}

    def look(of: TenantModel) -> Mapping[str, Any] | None:
        shown = last[of.name] = next(turns[of.name], last.get(of.name))
        if isinstance(shown, Exception):
            raise shown
        return None if shown is None else seen(of, shown)

    waiting.wait(
        [declared(name) for name in looks],
        look,
        timeout_s=timeout_s,
        generations=generations,
        clock_s=clock,
        pause=clock.pause,
    )
    return clock.now_s


def test_it_ends_once_each_is_ready() -> None:
    took_s = wait({"ann": [None, State.RECONCILING, State.READY], "bob": [State.READY]})
    assert took_s == 1.0


def test_a_stalled_one_ends_it_when_no_other_is_under_way() -> None:
    with pytest.raises(
        waiting.NotReady, match="Stalled: default/ann: Because: the operator's words"
    ) as raised:
        wait({"ann": [State.STALLED], "bob": [None, State.READY]})
    assert raised.value.exit_code == 3


def test_the_end_of_the_time_has_the_last_words() -> None:
    with pytest.raises(
        waiting.NotReady, match="not Ready within 10 s: default/bob: Because: the op"
    ) as raised:
        wait({"ann": [State.READY], "bob": [State.RECONCILING]})
    assert raised.value.exit_code == 4


def test_without_time_it_looks_once() -> None:
    assert wait({"ann": [State.READY]}, timeout_s=0.0) == 0.0
    with pytest.raises(waiting.NotReady):
        wait({"ann": [State.RECONCILING, State.READY]}, timeout_s=0.0)


@pytest.mark.parametrize("trouble", [RegistryUnavailable("away"), waiting.NoAnswer("HTTP 503")])
def test_an_outage_is_waited_for(trouble: Exception) -> None:
    assert wait({"ann": [trouble, trouble, State.READY]}) == 1.0
    with pytest.raises(waiting.NotReady, match=str(trouble)) as raised:
        wait({"ann": [trouble]})
    assert raised.value.exit_code == 4


def test_one_that_was_deleted_is_not_waited_for() -> None:
    """An object that was applied was there; a folder's is there once the operator has read it."""
    with pytest.raises(waiting.NotReady, match="was deleted") as raised:
        wait({"ann": [None]}, generations={"default/ann": 1})
    assert raised.value.exit_code == 3


def test_many_are_counted_and_twenty_are_named() -> None:
    with pytest.raises(waiting.NotReady, match=r"user-19: .*; and 5 more"):
        wait({f"user-{number}": [State.STALLED] for number in range(25)})


def test_a_row_of_the_registry_is_read_as_an_object(tmp_path: Path) -> None:
    """Its namespace counts: another team may have the same name."""
    url = f"sqlite:///{tmp_path}/registry.db"
    engine = open_engine(url)
    migrate(engine)
    operator = leading(engine)
    ours = declared()
    said = Status(State.READY, "Ready", "fine", 1, str(ours.spec.model.pinned()))
    spec = ours.to_manifest()["spec"]
    rows = [
        Claim("1", "default", "ann", "ann", 0.0, 1, spec, said),
        Claim("2", "blue", "ann", "ann-b", 0.0, 1, spec, Status(State.STALLED, "Bad", "bad", 1)),
    ]
    operator.commit(Writes(claims=rows))
    with RegistryReader.of_existing(url) as reader:
        waiting.wait([ours], lambda each: of_registry.seen_in(reader, each), timeout_s=0.0)
        assert of_registry.seen_in(reader, declared("bob")) is None
    engine.dispose()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--wait"], "--wait needs --manifests, a folder that is served, or --apply"),
        (["--context", "x"], "--context and --force-conflicts are for --apply"),
        (["--wait", "--manifests", "t", "--registry", "sqlite:///none.db"], "no registry at none.db"),
        (["--apply", "--context", "nobody"], "no API server is configured"),
        (["--wait", "--timeout", "-1"], "-1.0 is not in the range"),
    ],
)
def test_what_can_t_be_done_is_refused_before_anything_is_stored(
    args: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    (tmp_path / "model.joblib").write_bytes(b"any")
    given = ["model.joblib", "--user", "ann", "--to", "models", "--no-check", *args]
    done = CliRunner().invoke(command, given)
    assert done.exit_code != 0
    said = done.stderr if isinstance(done.exception, SystemExit) else str(done.exception)
    assert words in said.replace("\n", " ")
    assert not (tmp_path / "models").exists()
    assert not isinstance(done.exception, click.exceptions.Abort)

"""What a batch leaves where it is killed, where two items meet, and where one can't be stored."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenantry_server import publish, publish_many
from tenantry_server.publishing.batch import staging
from tenantry_server.publishing.batch.staging import Staging
from tenantry_server.toys import SumModel
from tests.support.waiting import until

PUBLISHES = """
import itertools, sys
from tenantry_server import publish_many
from tenantry_server.toys import SumModel
folder = sys.argv[1]
items = ({"user_id": f"user-{n}", "model": SumModel(plus=n)} for n in itertools.count())
publish_many(items, to=f"{folder}/models", manifests=f"{folder}/m", journal=f"{folder}/done")
"""


def items(count: int) -> list[dict[str, Any]]:
    return [{"user_id": f"user-{number}", "model": SumModel(plus=number)} for number in range(count)]


def how(folder: Path) -> dict[str, Any]:
    return {"to": f"{folder}/models", "manifests": f"{folder}/m", "journal": f"{folder}/done"}


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def declared(folder: Path) -> dict[str, Path]:
    """Of each manifest its artifact, which has the digest that it pins."""
    found = {}
    for path in sorted((folder / "m").glob("*.yaml")):
        model = yaml.safe_load(path.read_text())["spec"]["model"]
        artifact = Path(model["uri"].removeprefix("file://"))
        assert hashlib.sha256(artifact.read_bytes()).hexdigest() == model["sha256"]
        found[path.stem] = artifact
    return found


@pytest.mark.timeout(400)
def test_a_run_that_was_killed_goes_on_and_stores_nothing_twice(tmp_path: Path) -> None:
    """With SIGKILL, in the middle of a stream that never ends; what it declared is whole."""
    running = subprocess.Popen([sys.executable, "-c", PUBLISHES, str(tmp_path)])
    until(
        lambda: running.poll() is not None or len(list((tmp_path / "m").glob("*.yaml"))) >= 150,
        "150 tenants are declared",
    )
    assert running.poll() is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = declared(tmp_path)
    assert len(before) >= 150
    begun = {json.loads(line)[0] for line in (tmp_path / "done").read_text().splitlines()[:-1]}
    count = max(int(user.removeprefix("user-")) for user in begun) + 20
    report = publish_many(items(count), **how(tmp_path))
    assert report.failed == []
    assert (report.skipped, len(report.published)) == (len(before), count - len(before))
    after = declared(tmp_path)
    assert len(after) == count
    assert before.items() <= after.items()
    assert files(tmp_path / "models") == set(after.values()), "each artifact is named by one manifest"
    assert {path.suffix for path in files(tmp_path / "m")} == {".yaml"}
    assert publish_many(items(count), **how(tmp_path)).skipped == count


def test_what_was_stored_and_not_declared_is_stored_at_the_same_place(tmp_path: Path) -> None:
    """The process may end between any two steps; a line of the journal says where it was about to store."""
    (first,) = publish_many(items(1), **how(tmp_path)).published
    begun, done = (tmp_path / "done").read_text().splitlines()
    assert json.loads(begun) == [*json.loads(done), first.spec.model.uri]
    (tmp_path / "done").write_text(f"{begun}\n{done[:20]}")
    report = publish_many(items(1), **how(tmp_path))  # it was declared, and not noted
    assert (report.skipped, report.published) == (1, [])
    (tmp_path / "done").write_text(f"{begun}\n")
    (tmp_path / "m/user-0.yaml").unlink()  # it was stored, and not declared
    (again,) = publish_many(items(1), **how(tmp_path)).published
    assert again == first
    assert len(files(tmp_path / "models")) == 1
    assert publish_many(items(1), **how(tmp_path)).skipped == 1


def test_a_note_of_another_folder_is_not_followed(tmp_path: Path) -> None:
    (first,) = publish_many(items(1), **how(tmp_path)).published
    begun = json.loads((tmp_path / "done").read_text().splitlines()[0])
    (tmp_path / "done").write_text(
        json.dumps([*begun[:-1], f"file://{tmp_path}/elsewhere/x.joblib"]) + "\n"
    )
    (again,) = publish_many(items(1), **how(tmp_path)).published
    assert Path(again.spec.model.uri).parent == Path(first.spec.model.uri).parent
    assert not (tmp_path / "elsewhere").exists()


def test_two_items_of_one_manifest_come_one_after_the_other(tmp_path: Path) -> None:
    """The second keeps what the first said, and another user's is refused, however quick they follow."""
    twice: list[dict[str, Any]] = [
        {"user_id": "ann", "model": SumModel(), "spec": {"prewarm": True}},
        {"user_id": "ann", "model": SumModel(plus=1), "spec": {"replicas": 2}},
        {"user_id": "bob", "model": SumModel(), "name": "ann"},
    ]
    report = publish_many(twice, to=tmp_path / "models", manifests=tmp_path / "m")
    (failure,) = report.failed
    assert failure.user_id == "bob"
    assert "declares the userId 'ann', not 'bob'" in failure.problem
    spec = yaml.safe_load((tmp_path / "m/ann.yaml").read_text())["spec"]
    assert (spec["prewarm"], spec["replicas"]) == (True, 2)
    assert spec["model"]["uri"] == report.published[1].spec.model.uri


def test_one_that_can_not_be_put_in_place_fails_alone(tmp_path: Path) -> None:
    """A folder has the name of one manifest, a file that of one user's folder; nothing is left aside."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/user-3").write_text("a file")
    publish(SumModel(), user_id="user-9", to=tmp_path / "models", manifests=tmp_path / "m")
    stands = (tmp_path / "m/user-9.yaml").read_text()
    report = publish_many(items(9), to=tmp_path / "models", manifests=tmp_path / "m")
    assert [failure.number for failure in report.failed] == [3]
    assert "user-3" in report.failed[0].problem
    assert len(report.published) == 8
    assert (tmp_path / "m/user-9.yaml").read_text() == stands
    assert not (tmp_path / "m/user-3.yaml").exists()
    assert len(files(tmp_path / "m")) == 9
    assert len(files(tmp_path / "models")) == 8 + 2


def test_a_disk_that_refuses_a_group_fails_each_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Staging, "flush", full)
    report = publish_many(items(5), **how(tmp_path))
    assert [failure.number for failure in report.failed] == [0, 1, 2, 3, 4]
    assert "No space left" in report.failed[0].problem
    assert files(tmp_path / "models") == files(tmp_path / "m") == set()
    monkeypatch.undo()
    assert len(publish_many(items(5), **how(tmp_path)).published) == 5


def test_files_are_flushed_one_by_one_where_a_file_system_can_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(staging, "_FLUSHED_WHOLE", frozenset())
    monkeypatch.setattr(staging, "_flush", flushed.append)
    assert len(publish_many(items(5), **how(tmp_path)).published) == 5
    assert len(flushed) == 10
    assert len(declared(tmp_path)) == 5


def test_what_a_killed_process_left_is_removed_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    living = Staging(tmp_path)
    written = living.write(b"half")
    (tmp_path / ".publishing-dead").mkdir()
    (tmp_path / ".publishing-dead/1").write_bytes(b"left")
    other = Staging(tmp_path)
    assert not (tmp_path / ".publishing-dead").exists()
    living.put(written, tmp_path / "ann/model")
    assert (tmp_path / "ann/model").read_bytes() == b"half"
    living.close()
    other.close()
    assert os.listdir(tmp_path) == ["ann"]  # noqa: PTH208 - hidden ones too


def test_items_that_can_not_be_made_lose_nothing_that_was(tmp_path: Path) -> None:
    """A generator that fails after some items: these are declared, and the error is the caller's."""

    def trained() -> Any:
        yield from items(3)
        raise LookupError("no more data")

    with pytest.raises(LookupError):
        publish_many(trained(), **how(tmp_path))
    assert len(declared(tmp_path)) == 3
    assert publish_many(items(3), **how(tmp_path)).skipped == 3

"""Other signers are trusted: what leaves the memory, and what is tried again."""

from pathlib import Path

import pytest

from tenantry import ModelId
from tenantry.errors import SignatureUntrusted
from tenantry_server.assignments.candidate_loader import CandidateLoader
from tenantry_server.shards import suspects
from tenantry_server.shards.trust_changes import when_changed
from tests.unit.server.shards.test_faults import Rig

SIGNED = str(ModelId("file:///models/ann.joblib", signatures="required"))
PLAIN = str(ModelId("file:///models/bob.joblib"))
COLD = str(ModelId("file:///models/cleo.joblib", signatures="required"))


@pytest.mark.parametrize(
    ("gave_up", "signed_only", "left", "tried"),
    [
        (False, False, {SIGNED, PLAIN}, set()),
        (True, False, {PLAIN}, {SIGNED}),
        (True, True, set(), {SIGNED, PLAIN}),
    ],
)
async def test_what_was_verified_is_verified_again(
    tmp_path: Path, *, gave_up: bool, signed_only: bool, left: set[str], tried: set[str]
) -> None:
    """Only where somebody is not trusted any more, and only what was in memory: others when they load."""
    rig = Rig(tmp_path)
    try:
        rig.assign(ann=SIGNED, bob=PLAIN, cleo=COLD)
        for model_id in (SIGNED, PLAIN):
            rig.models.get_resident(model_id)
        candidates = CandidateLoader(rig._load, "server-0", lambda: None)
        when_changed(rig.table, rig.models, candidates, rig.faults, signed_only=signed_only)(gave_up)
        assert {each for each in (SIGNED, PLAIN) if each in rig.models} == left
        assert {key for key, each in rig.faults._suspects.items() if each.due_s <= rig.now_s} == tried
    finally:
        rig.engine.dispose()


async def test_a_refused_model_in_force_is_tried_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    try:
        await rig.fail(SignatureUntrusted("file:///a", "a stranger's"))
        assert rig.faults._suspects["a"].due_s > rig.now_s
        rig.faults.verify_again([])
        assert rig.faults._suspects["a"].due_s == rig.now_s
        assert suspects.confirmed_after_s(SignatureUntrusted("file:///a", "")) is not None
    finally:
        rig.engine.dispose()

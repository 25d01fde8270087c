"""Traces of an operator: what they wait for, and that they cost no import where they are off."""

import subprocess
import sys

from tenantry.manifest.status import State, Status
from tenantry.registry import Claim
from tenantry.tracing.sampling import Sampler
from tenantry.tracing.spans import Span
from tenantry_operator.declared import Declaration
from tenantry_operator.tracing import Changes, Step

MISSING = Status(State.RECONCILING, "ArtifactNotFound", "it is not there", 1)
ANN = Declaration("uid-ann", "default", "ann", 1, 0.0, None)


def claim(status: Status) -> Claim:
    return Claim("uid-ann", "default", "ann", "ann", 0.0, 1, None, status, {})


def under_way() -> tuple[Changes, list[Span]]:
    """A change whose status is to be written to an object."""
    ended: list[Span] = []
    changes = Changes(Sampler(1.0, follows=True, ended=ended.append), writes_statuses=True)
    changes.begin(ANN, None)
    return changes, ended


def test_the_same_decision_again_waits_for_the_same_write() -> None:
    """A store is asked again before the status is written of something that may be there soon."""
    changes, ended = under_way()
    changes.decided("uid-ann", "ann", MISSING, None, is_news=True)
    changes.decided("uid-ann", "ann", MISSING, None, is_news=False)
    assert ended == []
    changes.written(claim(MISSING))
    assert [span.name for span in ended] == ["apply TenantModel"]


def test_a_status_on_the_way_is_not_the_last_one() -> None:
    changes, ended = under_way()
    loading = Status(State.RECONCILING, "Loading", "…", 1)
    changes.decided("uid-ann", "ann", loading, Step.WAIT_FOR_LOAD, is_news=True)
    changes.written(claim(loading))
    assert ended == []
    changes.decided("uid-ann", "ann", loading, None, is_news=False)  # it was written already
    assert [span.name for span in ended] == ["wait for load", "apply TenantModel"]


def test_what_is_not_traced_is_left_alone() -> None:
    ended: list[Span] = []
    for changes in (Changes(), Changes(Sampler(0.0, follows=True, ended=ended.append))):
        changes.begin(ANN, None)
        changes.asked("uid-ann")
        changes.answered("uid-ann", None)
        with changes.step(Step.COMMIT, ["uid-ann"]):
            pass
        changes.decided("uid-ann", "ann", MISSING, None, is_news=True)
        changes.written(claim(MISSING))
        changes.removed(["uid-ann"])
        changes.end_all()
    assert ended == []


def test_where_traces_are_off_nothing_of_opentelemetry_is_imported() -> None:
    """By neither kind of operator, of a folder and of a cluster."""
    code = (
        "import sys, tenantry_operator.__main__, tenantry_operator.folder_process, "
        "tenantry_cli.commands.processes.operator\n"
        "from tenantry_operator import runtime\n"
        "from tenantry_operator.settings import OperatorSettings\n"
        "with runtime.traced(OperatorSettings.load(), writes_statuses=True) as changes:\n"
        "    assert changes._sampler is None\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'opentelemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""The registry lost commits: the operator begins from what is there, and Ready is said of that alone."""

import threading

import pytest

from tenantry.errors import HistoryChanged
from tenantry_operator import runtime
from tests.support.databases.backup import Backup
from tests.support.operator.rig import SOURCE, Rig, Server


def test_ready_is_taken_back_where_the_model_was_lost(rig: Rig) -> None:
    server = Server(rig.engine, "server-0")
    rig.declare("ann", "1")
    rig.until_ready(server)
    backup = Backup(rig.engine)
    rig.declare("ann", "2")
    rig.until_ready(server)
    ready, newest = rig.status("ann")
    assert ready == "Ready"
    backup.restore(rig.engine)
    with pytest.raises(HistoryChanged):
        rig.step()
    rig.restart(rig.registry)
    rig.step()
    reason, answers = rig.status("ann")
    assert reason != "Ready"
    assert answers != newest
    again = Server(rig.engine, "server-0")  # it reads everything
    rig.until_ready(again)
    assert rig.status("ann") == ("Ready", newest)
    assert again.answer("ann") == newest


def test_a_restart_after_a_loss_takes_no_revision(rig: Rig) -> None:
    """What was lost is declared again once, and then nothing differs."""
    server = Server(rig.engine, "server-0")
    rig.declare("ann", "1")
    rig.until_ready(server)
    backup = Backup(rig.engine)
    rig.declare("ann", "2")
    rig.until_ready(server)
    backup.restore(rig.engine)
    rig.restart(rig.registry)
    again = Server(rig.engine, "server-0")
    rig.until_ready(again)
    assert rig.reason("ann") == "Ready"
    before = rig.everything()
    for _ in range(2):
        rig.restart()
        rig.step()
        again.follow()
        rig.step()
    assert rig.everything() == before


def test_ready_waits_for_a_server_that_is_paused_meanwhile(rig: Rig) -> None:
    """Its row says a revision that has been given out again since."""
    paused, other = Server(rig.engine, "paused"), Server(rig.engine, "other")
    rig.declare("ann", "1")
    rig.until_ready(paused, other)
    backup = Backup(rig.engine)
    rig.declare("ann", "2")
    rig.until_ready(paused, other)
    backup.restore(rig.engine)
    with pytest.raises(HistoryChanged):
        rig.step()
    rig.restart(rig.registry)
    other = Server(rig.engine, "other")
    rig.until_ready(other)
    assert rig.reason("ann") != "Ready"
    rig.until_ready(Server(rig.engine, "paused"), other)
    assert rig.reason("ann") == "Ready"


def test_the_process_leads_again_until_it_is_told_to_stop(rig: Rig) -> None:
    stop, terms = threading.Event(), []

    def term(ends: threading.Event) -> None:
        terms.append(ends)
        if len(terms) < 3:
            raise HistoryChanged("1", "0")
        stop.set()
        assert ends.wait(30)

    first = rig.registry.lead(SOURCE)
    runtime.keep_leading(rig.registry, SOURCE, term, stop)
    assert [ends.is_set() for ends in terms] == [True] * 3
    assert rig.registry.lead(SOURCE) == first + 3

"""Asking where a thread is leaves the process as it was, and running."""

import gc
import subprocess
import sys
import threading

import pytest

from tenantry.processes.stacks import frame_of, place
from tests.support.waiting import PATIENCE_S

_ASKED_WHILE_THREADS_START = """
import gc, sys, threading, time
from tenantry.processes.stacks import frame_of

over = threading.Event()

def start_threads():
    while not over.is_set():
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

class Counted:
    pass

def let_others_run(phase, info):
    if threading.current_thread() is threading.main_thread():
        time.sleep(0.0001)

gc.callbacks.append(let_others_run)
gc.set_threshold(5)
threading.Thread(target=start_threads, daemon=True).start()
kept = []
for turn in range(500):
    kept.extend(Counted() for _ in range(turn % 6))  # so that a collection is due somewhere in the call
    assert frame_of(threading.get_ident()).f_back is sys._getframe()
over.set()
"""


def test_asking_while_others_start_threads_and_collect_never_stops_the_process() -> None:
    """Python's own call did, on Python 3.11: a server stood still for good."""
    subprocess.run([sys.executable, "-c", _ASKED_WHILE_THREADS_START], timeout=PATIENCE_S, check=True)


@pytest.mark.parametrize("collects", [True, False])
def test_collections_stay_as_they_were(collects: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        frame = frame_of(threading.get_ident())
        assert frame is not None
        assert frame.f_back is sys._getframe()
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()


def test_who_has_ended_is_nowhere() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert place(None) == place(-1) == "at its end"
    assert place(threading.get_ident()).startswith("in frame_of, ")

"""What Python's collector visits, in a process of the test's own: this one holds all that pytest has."""

import subprocess
import sys

import pytest

_BEGINNING = """
import gc
import weakref
from tenantry_server.memory.garbage import Collections

class Model:
    pass

gc.disable()
gc.collect()
gc.callbacks.append(Collections(long_s={long_s}))
gc.collect()
models = [Model() for _ in range(1000)]
"""


def printed(program: str, *, long_s: float = 0.0) -> list[str]:
    argv = [sys.executable, "-c", _BEGINNING.format(long_s=long_s) + program]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(("long_s", "visited"), [(0.0, False), (3600.0, True)])
def test_what_survived_a_long_collection_is_not_visited_again(long_s: float, *, visited: bool) -> None:
    program = """
gc.collect()
print(any(each is models[0] for each in gc.get_objects()))
"""
    assert printed(program, long_s=long_s) == [str(visited)]


def test_a_frozen_model_is_freed_once_nothing_refers_to_it() -> None:
    program = """
gc.collect()
seen = weakref.ref(models[0])
models.clear()
print(seen() is None)
"""
    assert printed(program) == ["True"]


def test_a_cycle_that_was_frozen_is_freed_once_what_is_frozen_has_doubled() -> None:
    program = """
models[0].other, models[1].other = models[1], models[0]
seen = weakref.ref(models[0])
gc.collect()
models.clear()
gc.collect()
print(seen() is None)
models = [Model() for _ in range(3 * gc.get_freeze_count())]
gc.collect()
gc.collect()  # sees that what is frozen has doubled
print(seen() is None)
gc.collect()
print(seen() is None)
print(any(each is models[0] for each in gc.get_objects()))
"""
    assert printed(program) == ["False", "False", "True", "False"]

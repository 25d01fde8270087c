"""The parts of benchmarks/serving that a wrong figure could come from."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from benchmarks.serving import zipf
from benchmarks.serving.contenders import bare
from benchmarks.serving.endpoint import Ask, WrongAnswer, check
from benchmarks.serving.profile import counted
from benchmarks.serving.report import Row, as_markdown, as_text
from benchmarks.serving.tenants import Tenants, linear_answers
from benchmarks.serving.throughput import Rounds
from benchmarks.serving.wrk import Load


def test_every_linear_tenant_answers_otherwise_and_as_scikit_learn_does(tmp_path: Path) -> None:
    tenants = Tenants("ridge", tmp_path, 5)
    tenants.write()
    answers = linear_answers(5)
    assert len(set(answers)) == 5
    assert [tenants.expected(n) for n in range(5)] == pytest.approx(answers, rel=1e-12)


def test_the_optimum_is_what_trying_every_choice_finds() -> None:
    """Against an exhaustive search, on every sequence of 6 requests for 4 tenants with room for 2."""

    def best(wanted: tuple[int, ...], kept: frozenset[int]) -> int:
        if not wanted:
            return 0
        first, rest = wanted[0], wanted[1:]
        if first in kept:
            return 1 + best(rest, kept)
        drops = [frozenset()] if len(kept) < 2 else [frozenset([each]) for each in kept]
        return max(best(rest, kept - drop | {first}) for drop in drops)

    for wanted in product(range(4), repeat=6):
        found = zipf.optimum(wanted, 2, counted_from=0)
        assert found * 6 == pytest.approx(best(wanted, frozenset())), wanted


def test_a_fast_server_with_wrong_answers_is_not_timed(tmp_path: Path) -> None:
    tenants = Tenants("ridge", tmp_path / "models", 2)
    tenants.write()
    with bare(tenants, tmp_path) as fast:
        check(fast, tenants)  # a constant is all that it promises
        with pytest.raises(WrongAnswer, match="tenant-000000"):
            check(replace(fast, constant=False), tenants)
        with pytest.raises(WrongAnswer, match="404"):
            check(replace(fast, requests=(Ask("/nowhere"),) * 2), tenants)


def test_a_ratio_is_taken_within_each_round() -> None:
    """A round in which the whole machine was slow says as much as any other."""
    ours = [Load(100, 1, 1), Load(10, 1, 1), Load(120, 1, 1)]
    theirs = [Load(50, 1, 1), Load(5, 1, 1), Load(40, 1, 1)]
    assert Rounds({"ours": ours, "theirs": theirs}).ratios("ours", "theirs") == (2, 2, 3)


def test_what_was_not_measured_is_told_with_its_reason() -> None:
    rows = [Row("Ridge", "MLServer", target="at least 8", note="no such version")]
    for table in (as_text(rows), as_markdown(rows)):
        assert "NOT MEASURED" in table
        assert table.endswith("MLServer was not measured: no such version")


def test_a_profile_leaves_out_threads_at_rest() -> None:
    lines = [
        "_bootstrap (threading.py:1);_worker (concurrent/futures/thread.py:81) 90",
        "main (a.py:1);work (b.py:7) 2",
        "main (a.py:1);work (b.py:9) 1",
    ]
    alone, with_callees = counted(lines)
    assert alone == {"work (b.py)": 3}
    assert with_callees == {"main (a.py)": 3, "work (b.py)": 3}

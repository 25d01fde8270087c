"""Where a model raised: types and places, bounded, and nothing of what it said."""

from typing import Any

import orjson
import pytest

from tenantry_server.scoring import tracebacks


def deep(left: int) -> None:
    if left:
        deep(left - 1)
    raise KeyError("row 7 holds 3.25")


def raised(call: Any) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def caused() -> None:
    try:
        deep(0)
    except KeyError as error:
        raise RuntimeError("while 3.25 was read") from error


def test_the_first_cause_comes_first_as_in_python() -> None:
    kinds = [kind for kind, _ in tracebacks.of(raised(caused))]
    assert kinds == ["KeyError", "RuntimeError"]
    text = tracebacks.text(tracebacks.of(raised(caused)))
    assert text.index("in deep\nKeyError") < text.index("in caused\nRuntimeError")


def test_no_word_of_what_was_raised_is_in_it() -> None:
    """It may quote a row."""
    assert "3.25" not in tracebacks.text(tracebacks.of(raised(caused)))


def test_a_deep_recursion_shows_where_it_ended() -> None:
    ((_, frames),) = tracebacks.of(raised(lambda: deep(500)))
    assert len(frames) == 12
    assert {function for _, _, function in frames} == {"deep"}


def test_a_chain_that_goes_in_a_circle_ends() -> None:
    error = raised(caused)
    assert error.__cause__ is not None
    error.__cause__.__cause__ = error
    assert len(tracebacks.of(error)) == 2


def test_a_class_can_not_break_it_by_what_it_says_of_itself() -> None:
    """A worker writes it as JSON, in the middle of answering."""

    class Odd(type):
        __name__ = property(lambda _: 7)

    class Lies(Exception, metaclass=Odd):
        __cause__ = property(lambda _: 7)
        __traceback__ = property(lambda _: 7)

    namespace: dict[str, Any] = {"Lies": Lies}
    exec(compile("def f(): raise Lies", "/m\udc80.py", "exec"), namespace)  # noqa: S102 - our own text
    described = tracebacks.of(raised(namespace["f"]))
    assert orjson.loads(orjson.dumps(described))[0][0] == "Lies"
    assert described[0][1][-1] == ("/m\\udc80.py", 1, "f")


def test_names_are_bounded_and_escaped() -> None:
    text = tracebacks.text([["E\x1b[2J\n{}", [["/m\u202ey.py\r\n" + "x" * 9999, 10**30, "f\0"]]]])
    assert len(text) < 400
    assert text.isascii()
    assert text.splitlines()[1].startswith('  File "/m\\u202ey.py\\r\\nxxx')
    assert text.splitlines()[2] == "E\\x1b[2J\\n{}"


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        "text",
        {},
        [None],
        [[]],
        [["E"]],
        [["E", None]],
        [[7, []]],
        [["E", [[1, 2, 3]]]] * 1000,
        [["E", [["f", "2", "g"], None, ["f"]]]],
        [["E" * 10**6, [["f" * 10**6, 1, "g" * 10**6]] * 10**3]] * 10,
    ],
)
def test_whatever_a_worker_sends_is_read_as_a_strangers(odd: object) -> None:
    assert len(tracebacks.text(odd)) < 20_000

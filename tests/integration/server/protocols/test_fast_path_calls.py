"""How much Python runs for a plain prediction: a count, as no clock tells a tenth of a microsecond."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import joblib
import pandas as pd
from sklearn.linear_model import Ridge

from tenantry import Model
from tenantry_server import FileSystemModelRepository
from tests.integration.server.protocols.test_fast_path import Models
from tests.integration.server.protocols.test_fast_path_differential import Transport, side

_MOST_CALLS = 25  # 23 more of them took a third of the time of a request
_OTHERS = ("/tests/", "/asyncio/")  # what stands for the fleet's map and the socket here
_BODY = b'[{"a": 1, "b": 2}]'
ASKED = b"POST /predict/ann HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY
"""A plain prediction."""


class Compiled(Models):
    """A linear model of two columns, as a server that compiles has it in memory."""

    def __init__(self, folder: Path) -> None:
        path = folder / "ridge.joblib"
        frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]})
        joblib.dump(Ridge().fit(frame, [1.0, 2.0, 3.0]), path)
        self._model = FileSystemModelRepository().get_model(path.as_uri())

    def get_model(self, model_id: str) -> Model:  # noqa: ARG002 - one for all
        return self._model


async def test_a_plain_prediction_takes_few_calls(tmp_path: Path) -> None:
    """So a feature that a request does not use costs it next to nothing."""
    async with side(fast=True, gate=None, models=Compiled(tmp_path)) as one:
        transport = Transport(one.server())
        receive = transport.protocol.data_received
        for _ in range(3):  # its headers are plain once aiohttp has read them; one of 16 is measured
            receive(ASKED)
            await one.rest(transport)
        answers = bytes(transport.written)
        called = [
            each for each in calls_of(lambda: receive(ASKED)) if not any(other in each for other in _OTHERS)
        ]
        assert bytes(transport.written)[len(answers) :] in answers
        transport.close()
    assert len(called) <= _MOST_CALLS, "\n".join(called)


def calls_of(call: Callable[[], object]) -> list[str]:
    """The functions of Python that are called, in their order."""
    called: list[str] = []

    def seen(frame: FrameType, event: str, _about: Any) -> None:
        if event == "call":
            called.append(f"{frame.f_code.co_qualname} {frame.f_code.co_filename}:{frame.f_lineno}")

    sys.setprofile(seen)
    try:
        call()
    finally:
        sys.setprofile(None)
    return called[1:]  # without `call` itself


def test_the_count_sees_each_call() -> None:
    def inner() -> None: ...

    def outer() -> None:
        inner()
        inner()

    assert [each.split()[0].rpartition(".")[2] for each in calls_of(outer)] == ["inner", "inner"]

"""A worker process: loads tenants' models, turns them into kernels or keeps them, and runs them.

It serves one front over one channel, one frame after another, and ends with it. Whatever a tenant's code
does here, the front learns of it by the end of this process at the latest.
"""

import contextlib
import mmap
import os
import pickle
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from tenantry import Forecaster, Model, ModelId, TenantryError
from tenantry.errors import ArtifactInvalid, VersionSkew
from tenantry.model import Predictions
from tenantry_server.cards.card import Card
from tenantry_server.formats import format_of, load_model, skew_in
from tenantry_server.formats.adapters import compiled
from tenantry_server.kernels import arrays, packing
from tenantry_server.kernels.arrays import Buffer
from tenantry_server.kernels.base import Compiled
from tenantry_server.kernels.forest import Forest
from tenantry_server.kernels.series import wire
from tenantry_server.memory.model_size import size_bytes
from tenantry_server.scoring import surroundings, tracebacks
from tenantry_server.scoring.calls import contained, score, score_rows
from tenantry_server.workers.calls import answers
from tenantry_server.workers.child import bodies
from tenantry_server.workers.child.brought import Brought
from tenantry_server.workers.frames import (
    KEY,
    PROGRESS,
    SHAPE,
    BlockingChannel,
    ChannelClosed,
    Kind,
    read_all,
    write_all,
)

_TOGETHER_S = 0.5  # after which models that are loaded in one call are left to the next one
_HELD_S = 0.001  # an answer waits no longer for the next call to be made


def main(channel: socket.socket, progress: mmap.mmap) -> None:
    """Serve until the front closes the channel.

    Args:
        progress: a page that the front sees too, and that says which call is being made.
    """
    surroundings.randomize()
    Forest.keeps_arrays = True
    with contextlib.suppress(ChannelClosed):
        _Worker(BlockingChannel(channel), progress).serve()


class _Worker:
    def __init__(self, channel: BlockingChannel, progress: mmap.mmap) -> None:
        self._channel = channel
        self._progress = progress
        self._number = 0
        self._answers: list[tuple[Kind, Sequence[Buffer]]] = []
        self._oldest_s = 0.0
        self._models: dict[int, Model] = {}
        self._brought = Brought()
        self._pid = os.getpid()

    def serve(self) -> None:
        while True:
            if self._answers and not (
                self._channel.waits() and time.monotonic() < self._oldest_s + _HELD_S
            ):
                # Answers go together where calls come together: each would cost two changes of process.
                self._channel.send(self._answers)
                self._answers.clear()
                PROGRESS.pack_into(self._progress, 0, 0)  # a worker that can't send has ended on its call
            kind, body, fds = self._channel.receive()
            if kind is Kind.DROP:
                (key,) = KEY.unpack(body)
                self._models.pop(key, None)
                continue
            self._number += 1
            PROGRESS.pack_into(self._progress, 0, self._number)
            answer = self._answer(kind, body, fds)
            if os.getpid() != self._pid:
                os._exit(0)  # a model forked: only this process itself has a front
            if not self._answers:
                self._oldest_s = time.monotonic()
            self._answers.append(answer)

    def _answer(self, kind: Kind, body: bytearray, fds: list[int]) -> tuple[Kind, Sequence[Buffer]]:
        began_s = time.thread_time()
        try:
            if kind is Kind.LOAD:
                return Kind.LOADED, [orjson.dumps(contained(lambda: self._load(orjson.loads(body), *fds)))]
            if kind is Kind.LOAD_MANY:
                return Kind.LOADED, self._together(body)
            if kind is Kind.CHECK:
                return Kind.ANSWER, [_signer(body)]
            if kind is Kind.PARSE:
                return Kind.ANSWER, contained(lambda: bodies.parse(memoryview(body)))
            if kind in (Kind.READ, Kind.WRITE):
                return Kind.ANSWER, contained(lambda: _table(kind, body))
            predictions = contained(lambda: self._scored(kind, body))
            return Kind.ANSWER, answers.pack(predictions, time.thread_time() - began_s)
        except Exception as error:
            return Kind.FAILED, [_failure(error, time.thread_time() - began_s)]
        finally:
            for fd in fds:
                os.close(fd)

    def _scored(self, kind: Kind, body: bytearray) -> Predictions:
        if kind is Kind.ROWS:
            key, rows, columns = SHAPE.unpack_from(body)
            # A view of the frame, which is this call's own: a model may work in place on it.
            matrix = np.frombuffer(body, np.float64, offset=SHAPE.size).reshape(rows, columns)
            return score_rows(self._models[key], matrix)
        (key,) = KEY.unpack_from(body)
        payload = pickle.loads(memoryview(body)[KEY.size :])  # noqa: S301 - the front wrote it
        return score(self._models[key], payload)

    def _load(self, asked: dict[str, Any], artifact: int, room: int) -> dict[str, Any]:
        exact = ModelId.parse(asked["model_id"])
        data = read_all(artifact)
        if asked["keep"]:  # it was tried before
            exact = replace(exact, compile="off")
        model, told = self._made(data, exact, asked)
        if asked["rewrite"]:
            return {
                "written": write_all(room, [surroundings.kept(lambda: _written_again(data, exact))])
            } | told
        parts = _kernel(model, exact, asked["card"])
        if parts is not None:
            return {"kernel": write_all(room, parts)} | told
        self._models[asked["key"]] = model
        return {
            "model": _described(model, exact),
            "size_bytes": 0 if asked["keep"] else size_bytes(model),
        } | told

    def _made(self, data: bytes, exact: ModelId, asked: dict[str, Any]) -> tuple[Model, dict[str, Any]]:
        """Return a model, what it needs beside the known libraries, and how its library's version differs.

        Raises:
            VersionSkew: it differs, and that is refused.
            TenantryError: as `load_model`.
        """
        was_tried = asked.get("keep", False)
        skew = None if was_tried else skew_in(data, exact)
        if skew is not None and asked["refuse_skew"]:
            raise VersionSkew(exact.uri, str(skew))
        card = None if asked["card"] is None else asked["card"].encode()
        model = surroundings.kept(lambda: load_model(data, exact, card, was_tried=was_tried))
        return model, {
            "group": self._brought.group_of(exact, model),
            "skew": None if skew is None else str(skew),
        }

    def _together(self, body: bytearray) -> Sequence[Buffer]:
        """Load small models one after another; return those that became kernels, up to one that can't be.

        What fails, needs more than the known libraries or has no time left ends the call.
        """
        document, artifacts = arrays.decode(memoryview(body))
        loads: list[dict[str, Any] | None] = []
        kernels: list[Any] = []
        clean, ends_s = True, time.monotonic() + _TOGETHER_S
        for asked, artifact in zip(document["loads"], artifacts, strict=True):
            if time.monotonic() > ends_s:
                break
            try:
                kernel, told = contained(lambda: self._small(artifact.tobytes(), asked))  # noqa: B023 - called now
            except Exception:  # it is raised again, and told, where the model is loaded alone
                clean = False
                break
            if told["group"]:
                clean = False
                break
            loads.append(None if kernel is None else told)
            if kernel is not None:
                kernels.append(np.frombuffer(kernel, np.uint8))
        return arrays.encode({"loads": loads, "clean": clean}, kernels)

    def _small(self, data: bytes, asked: dict[str, Any]) -> tuple[bytes | None, dict[str, Any]]:
        exact = ModelId.parse(asked["model_id"])
        model, told = self._made(data, exact, asked)
        parts = _kernel(model, exact, asked["card"])
        return None if parts is None else b"".join(parts), told


def _table(kind: Kind, body: bytearray) -> Sequence[Buffer]:
    """Read or write a table, by a library that most workers never import."""
    from tenantry_server.workers.child import tables  # noqa: PLC0415 - as said

    given = memoryview(body)
    return tables.read(given) if kind is Kind.READ else tables.write(given)


def _signer(body: bytearray) -> bytes:
    """Verify a signature, by a library that most workers never import; return who signed."""
    from tenantry_server.signing import checking, trust  # noqa: PLC0415 - as said

    asked = orjson.loads(body)
    trusted = trust.Trust.of_json(asked["trust"])
    signature = asked["signature"].encode(errors="replace")
    return checking.check(asked["uri"], asked["sha256"], signature, trusted).encode()


def _written_again(data: bytes, exact: ModelId) -> bytes:
    """Serialise an artifact's content with the libraries that are here.

    Raises:
        ArtifactInvalid: its format is written by other means, or its content can't be pickled.
    """
    chosen = format_of(exact)
    if "written_again" not in chosen.offers:
        raise ArtifactInvalid(exact.uri, "only joblib and pickle files are written again")
    try:
        written: bytes = chosen.reader.written_again(data)
    except Exception as error:  # a tenant's classes say themselves how they are pickled
        raise ArtifactInvalid(
            exact.uri, f"it can't be pickled again: {type(error).__name__}: {error}"
        ) from error
    return written


def _kernel(model: Model, exact: ModelId, card: str | None) -> Sequence[Buffer] | None:
    """Return what the front computes with; None: the model stays here, as labels without a form do."""
    with contextlib.suppress(TypeError):
        if isinstance(model, Compiled):
            return packing.pack(model)
        return _forecasts(model, exact, None if card is None else card.encode())
    return None


def _forecasts(model: Model, exact: ModelId, card: bytes | None) -> list[Buffer] | None:
    """Return what the front can answer forecasts with, where there is something and it may be compiled."""
    if exact.compile == "off" or not isinstance(model, Forecaster):
        return None
    read = None if card is None else Card.read(card)
    table = surroundings.kept(lambda: compiled.table_of(model, read))
    return None if table is None else wire.pack(table)


def _described(model: Model, exact: ModelId) -> dict[str, Any]:
    names = model.feature_names
    if names is not None and not all(isinstance(name, str) for name in names):
        raise ArtifactInvalid(exact.uri, "its feature_names are not texts")
    return {
        "names": None if names is None else list(names),
        "count": None if model.feature_count is None else int(model.feature_count),
        "numeric": bool(model.numeric),
        "accepts_missing": bool(model.accepts_missing),
        "ignores_extra": bool(model.ignores_extra),
        "independent_rows": bool(model.independent_rows),
        "may_block": bool(model.may_block),
        "kind": type(model).__name__,
    }


def _failure(error: Exception, spent_s: float) -> bytes:
    known = isinstance(error, TenantryError)
    return orjson.dumps(
        {
            "reason": error.reason if isinstance(error, TenantryError) else "",
            "message": str(error) if known else f"{type(error).__name__}: {error}"[:2000],
            "spent_s": spent_s,
            "raised": tracebacks.of(error.__cause__ or error),
        }
    )

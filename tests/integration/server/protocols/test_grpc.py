"""The Open Inference Protocol over gRPC, beside the same application over HTTP."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from aiohttp import web
from sklearn.linear_model import Ridge
from sqlalchemy import create_engine

from tenantry.trust.certificates import Files
from tenantry_server.app import FAST_PATH
from tenantry_server.grpc_v2 import calls, streamed, translating
from tenantry_server.grpc_v2.asking import Application
from tenantry_server.grpc_v2.messages import SERVICE
from tenantry_server.grpc_v2.port import Port
from tenantry_server.protocols.fast_path import FastPath
from tests.support.databases.migrated import migrate
from tests.support.network.certificates import Authority
from tests.support.network.grpc_port import OTHER, ROW, SUM, Stub, infer, served
from tests.support.tenants import application
from tests.support.tenants.application import BODY_BYTES, GatedModel
from tests.support.tenants.callers import gate_of

STREAMS = 64


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with served(tmp_path) as each:
        yield each


async def test_typed_tensors_are_answered_with_typed_ones(stub: Stub) -> None:
    answer = await stub.send("ModelInfer", infer(id="7"))
    (output,) = answer.outputs
    assert (answer.model_name, answer.id, output.name, output.datatype) == ("good", "7", "predict", "FP64")
    assert (list(output.shape), list(output.contents.fp64_contents)) == ([1], [SUM])
    assert not answer.raw_output_contents


async def test_raw_tensors_are_answered_with_raw_ones(stub: Stub) -> None:
    shaped = [{"name": name, "datatype": "INT16", "shape": [2, 1]} for name in "ab"]
    raw = [np.array([1, 3], "<i2").tobytes(), np.array([2, 4], "<i2").tobytes()]
    answer = await stub.send("ModelInfer", infer("good", *shaped, raw_input_contents=raw))
    assert np.frombuffer(answer.raw_output_contents[0], "<f8").tolist() == [SUM, 107.0]
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT64", "FP32", "BOOL"])
async def test_each_type_of_numbers_is_read(stub: Stub, datatype: str) -> None:
    field = {"FP32": "fp32_contents", "BOOL": "bool_contents", "INT64": "int64_contents"}.get(datatype)
    field = field or {"UINT64": "uint64_contents", "UINT8": "uint_contents"}.get(datatype, "int_contents")
    tensors = [{"name": n, "datatype": datatype, "shape": [1, 1], "contents": {field: [1]}} for n in "ab"]
    answer = await stub.send("ModelInfer", infer("good", *tensors))
    assert list(answer.outputs[0].contents.fp64_contents) == [102.0]


async def test_a_large_message_is_converted_in_a_thread_and_answered_as_a_small_one(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is large here is what has any bytes at all."""
    threads: set[bool] = set()
    body_of, infer_response = translating.body_of, translating.infer_response

    def noted(convert: Any, *given: Any, **how: Any) -> Any:
        threads.add(threading.current_thread() is threading.main_thread())
        return convert(*given, **how)

    monkeypatch.setattr(translating, "body_of", partial(noted, body_of))
    monkeypatch.setattr(translating, "infer_response", partial(noted, infer_response))
    asked = [
        infer(id="1"),
        infer("nobody", id="2"),
        infer("good", ROW, {**OTHER, "datatype": "INT8", "contents": {"int_contents": [300]}}, id="3"),
        infer("", id="4"),
    ]

    async def answered(message: Any) -> Any:
        try:
            return await stub.send("ModelInfer", message)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()

    small = [await answered(each) for each in asked], [each async for each in stub.stream(asked)]
    assert threads == {True}
    threads.clear()
    for module in (calls, streamed):
        monkeypatch.setattr(module, "LARGE_BYTES", 0)
    large = [await answered(each) for each in asked], [each async for each in stub.stream(asked)]
    assert large == small
    assert threads == {False}


async def test_a_stream_is_answered_in_its_order_and_one_failure_ends_nothing(stub: Stub) -> None:
    asked = [
        infer(id="1"),
        infer("nobody", id="2"),
        infer("good", ROW, {**OTHER, "shape": [2, 1]}, id="3"),
        infer(id="4"),
    ]
    given = [each async for each in stub.stream(asked)]
    assert [each.infer_response.id for each in given] == ["1", "2", "3", "4"]
    assert [bool(each.error_message) for each in given] == [False, True, True, False]
    assert "no model is assigned to user 'nobody'" in given[1].error_message
    assert list(given[3].infer_response.outputs[0].contents.fp64_contents) == [SUM]


async def test_what_a_server_and_a_model_say_of_themselves(stub: Stub) -> None:
    assert (await stub.call("ServerLive")).live
    assert (await stub.call("ServerReady")).ready
    assert (await stub.call("ServerMetadata")).name == "tenantry"
    assert (await stub.call("ModelReady", name="good")).ready
    assert not (await stub.call("ModelReady", name="coming")).ready
    metadata = await stub.call("ModelMetadata", name="good")
    assert [each.name for each in metadata.outputs] == ["predict"]
    assert metadata.platform == "tenantry_sklearn"
    states = {each.name: each.state for each in (await stub.call("RepositoryIndex")).models}
    assert states["good"] == "READY"
    await stub.call("RepositoryModelUnload", model_name="good")
    states = {each.name: each.state for each in (await stub.call("RepositoryIndex")).models}
    assert states["good"] == "UNAVAILABLE"
    await stub.call("RepositoryModelLoad", model_name="good")
    assert [each.name for each in (await stub.call("RepositoryIndex", ready=True)).models] == ["good"]


_BAD = grpc.StatusCode.INVALID_ARGUMENT
_HALF = {"name": "a", "datatype": "FP64", "shape": [1, 1]}


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (infer("nobody"), grpc.StatusCode.NOT_FOUND, "no model is assigned to user 'nobody'"),
        (infer("coming"), grpc.StatusCode.UNAVAILABLE, "coming"),
        (infer(""), _BAD, "the model name is empty"),
        (infer(".."), _BAD, "the model name '..' has characters that no user id has"),
        (
            infer("../../metrics?x="),
            _BAD,
            "the model name '../../metrics?x=' has characters that no user id has",
        ),
        (infer("good", model_version="0" * 8), grpc.StatusCode.NOT_FOUND, "version"),
        (infer("exits"), grpc.StatusCode.INTERNAL, "Exits raised SystemExit"),
        (infer("good", ROW, {**OTHER, "shape": [2, 1]}), _BAD, "shape"),
        (infer("good", ROW, {**OTHER, "shape": [-1, 1]}), _BAD, "shape"),
        (infer("good", ROW, {**OTHER, "datatype": "FP16"}), _BAD, "FP16' has no typed contents"),
        (infer("good", ROW, {**OTHER, "datatype": "INT64"}), _BAD, "INT64 stands in int64_contents"),
        (
            infer("good", ROW, {**OTHER, "datatype": "INT8", "contents": {"int_contents": [300]}}),
            _BAD,
            "300 is not an INT8",
        ),
        (infer(raw_input_contents=[b""]), _BAD, "raw_input_contents has 1 parts, and there are 2 inputs"),
        (infer(raw_input_contents=[b"", b""]), _BAD, "give either 'contents' or 'raw_input_contents'"),
        (infer("good", _HALF, raw_input_contents=[b"1234"]), _BAD, "4 bytes"),
        (infer(outputs=[{"name": "other"}]), _BAD, "there is no output 'other'"),
        (
            infer(outputs=[{"name": "predict", "parameters": {"classification": {"int64_param": 2}}}]),
            _BAD,
            "'classification' is not offered",
        ),
    ],
)
async def test_a_request_that_is_wrong_is_refused_in_words(
    stub: Stub, asked: Any, code: grpc.StatusCode, words: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.send("ModelInfer", asked)
    assert raised.value.code() == code, raised.value.details()
    assert words in str(raised.value.details())
    assert dict(raised.value.trailing_metadata() or ())["tenantry-reason"]
    assert list((await stub.send("ModelInfer", infer())).outputs[0].contents.fp64_contents) == [SUM]


async def test_a_larger_message_than_a_body_may_be_is_refused(stub: Stub) -> None:
    raw = [bytes(8 * BODY_BYTES)] * 2
    shaped = [{"name": name, "datatype": "FP64", "shape": [BODY_BYTES, 1]} for name in "ab"]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.send("ModelInfer", infer("good", *shaped, raw_input_contents=raw))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_message_are_refused_in_words(stub: Stub) -> None:
    method: Any = stub.channel.unary_unary(f"/{SERVICE}/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method(b"\xff\xff\xff")
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "the message is not a ModelInferRequest"
    assert list((await stub.send("ModelInfer", infer())).outputs[0].contents.fp64_contents) == [SUM]


async def test_a_changed_message_is_answered_or_refused_by_a_reason(stub: Stub) -> None:
    """One to four bytes of a message are others; no status says that something failed in here."""
    method: Any = stub.channel.unary_unary(f"/{SERVICE}/ModelInfer")
    draw = random.Random(14)  # noqa: S311 - a test
    raw = {"name": "a", "datatype": "FP64", "shape": [1, 1]}
    plain = [
        infer(outputs=[{"name": "predict", "parameters": {"x": {"int64_param": 1}}}], id="7"),
        infer("good", raw, raw_input_contents=[bytes(8)]),
        infer("good", {**raw, "datatype": "BYTES", "contents": {"bytes_contents": [b"x"]}}),
    ]
    refused: list[tuple[grpc.aio.AioRpcError, bytes]] = []
    for _ in range(1500):
        changed = bytearray(draw.choice(plain).SerializeToString())
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        try:
            await method(bytes(changed))
        except grpc.aio.AioRpcError as error:
            refused.append((error, bytes(changed)))
    untold = [each for each in refused if "tenantry-reason" not in dict(each[0].trailing_metadata() or ())]
    assert not untold
    codes = {error.code() for error, _ in refused}
    assert codes >= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


async def test_a_calls_deadline_is_the_requests(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is still waiting when the time is over; the next caller gets a connection that is free."""
    monkeypatch.setattr(GatedModel, "gate", gate := type(GatedModel.gate)())
    try:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.send("ModelInfer", infer("gated"), timeout=0.3)
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert list((await stub.send("ModelInfer", infer())).outputs[0].contents.fp64_contents) == [SUM]
    finally:
        gate.set()


async def test_a_call_needs_the_key_that_a_request_needs(tmp_path: Path) -> None:
    async with served(tmp_path, gate=gate_of({"key": ["good"]})) as stub:
        await stub.call("ServerLive")
        for metadata, code in (
            ((), grpc.StatusCode.UNAUTHENTICATED),
            ((("authorization", "Bearer other"),), grpc.StatusCode.UNAUTHENTICATED),
            (
                (("authorization", "Bearer key"), ("authorization", "Bearer key")),
                grpc.StatusCode.UNAUTHENTICATED,
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.send("ModelInfer", infer(), metadata=metadata)
            assert raised.value.code() == code
        shown = (("authorization", "Bearer key"),)
        assert (await stub.send("ModelInfer", infer(), metadata=shown)).model_name == "good"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.send("ModelInfer", infer("exits"), metadata=shown)
        assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_metadata_is_no_way_around_a_hops_proof(stub: Stub) -> None:
    """What servers say to one another in headers is not passed on from a caller."""
    metadata = (
        ("tenantry-hop", "server-1"),
        ("tenantry-proof", "x"),
        ("content-length", "0"),
        ("host", "x"),
    )
    answer = await stub.send("ModelInfer", infer(), metadata=metadata)
    assert list(answer.outputs[0].contents.fp64_contents) == [SUM]


async def test_the_port_takes_tls_and_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    """Half of a new one changes nothing."""
    first, second = Authority("first"), Authority("second")
    first.issue().write(tmp_path)
    port = Port(Application(web.Server(_unasked)), max_bytes=BODY_BYTES)
    number = await port.open("127.0.0.1:0", Files(tmp_path / "tls.crt", tmp_path / "tls.key"))

    async def seen_by(ca: Authority) -> grpc.StatusCode:
        trusted = grpc.ssl_channel_credentials(ca.pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{number}", trusted) as channel:
            call: Any = channel.unary_unary("/nothing/Nothing")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(b"", timeout=60)
            return raised.value.code()

    reached, refused = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE
    assert (await seen_by(first), await seen_by(second)) == (reached, refused)
    second.issue().write(tmp_path)
    assert (await seen_by(first), await seen_by(second)) == (refused, reached)
    (tmp_path / "tls.crt").write_bytes(b"half of")
    assert await seen_by(second) == reached
    await port.close(0.0)


async def test_a_message_that_does_not_arrive_is_not_waited_for(tmp_path: Path) -> None:
    async with served(tmp_path, of_port={"read_timeout_s": 0.5}) as stub:
        method: Any = stub.channel.stream_unary(f"/{SERVICE}/ModelInfer")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method()
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert dict(raised.value.trailing_metadata() or ())["tenantry-reason"] == "BodyTimeout"
        assert list((await stub.send("ModelInfer", infer())).outputs[0].contents.fp64_contents) == [SUM]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_are_read(stub: Stub, compression: grpc.Compression) -> None:
    asked = infer(
        "good", *({**each, "parameters": {"note": {"string_param": "x" * 2000}}} for each in (ROW, OTHER))
    )
    answer = await stub.send("ModelInfer", asked, compression=compression)
    assert list(answer.outputs[0].contents.fp64_contents) == [SUM]


async def test_what_expands_without_measure_is_refused(stub: Stub) -> None:
    method: Any = stub.channel.unary_unary(f"/{SERVICE}/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method(bytes(30_000_000), compression=grpc.Compression.Gzip)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_what_is_not_a_call_of_this_service_is_refused(stub: Stub) -> None:
    for path in (f"/{SERVICE}/Nothing", "/other.Service/ModelInfer"):
        method: Any = stub.channel.unary_unary(path)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(b"")
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_large_messages_and_answers_take_several_frames(tmp_path: Path) -> None:
    """Past the first windows of both ends."""
    many = 100_000
    columns = {name: np.arange(many, dtype="<f8") for name in "ab"}
    shaped = [{"name": name, "datatype": "FP64", "shape": [many, 1]} for name in columns]
    raw = [values.tobytes() for values in columns.values()]
    async with served(tmp_path, of_port={"max_bytes": 64 << 20}, max_body_bytes=64 << 20) as stub:
        answer = await stub.send("ModelInfer", infer("good", *shaped, raw_input_contents=raw))
        assert np.array_equal(np.frombuffer(answer.raw_output_contents[0], "<f8"), 2 * columns["a"] + 100)
        asked = [infer("good", *shaped, raw_input_contents=raw, id=str(n)) for n in range(3)]
        assert [each.infer_response.id async for each in stub.stream(asked)] == ["0", "1", "2"]


async def test_streams_are_counted_and_come_back(stub: Stub) -> None:
    """One more than may be open is told so; once one has ended, there is room."""
    method: Any = stub.channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
    opened = [method() for _ in range(STREAMS)]
    for call in opened:
        await call.write(infer().SerializeToString())
        await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method().read()
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in opened:
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    given = [each async for each in stub.stream([infer()])]
    assert not given[0].error_message


async def _unasked(_request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError


async def test_many_calls_at_once_get_their_own_answers(stub: Stub) -> None:
    async def one(number: int) -> list[float]:
        given = {**ROW, "contents": {"fp64_contents": [float(number)]}}
        answer = await stub.send("ModelInfer", infer("good", given, OTHER, id=str(number)))
        assert answer.id == str(number)
        return list(answer.outputs[0].contents.fp64_contents)

    answers = await asyncio.gather(*map(one, range(300)))
    assert answers == [[SUM - 1 + number] for number in range(300)]


async def test_calls_go_the_fast_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one right after another, where the connection of the one before does not read yet."""
    plain = FastPath._predicted
    quick: list[bool] = []

    def counted(*given: Any, **limited: Any) -> bytes | None:
        answer = plain(*given, **limited)
        quick.append(answer is not None)
        return answer

    monkeypatch.setattr(FastPath, "_predicted", counted)
    engine = create_engine(f"sqlite:///{tmp_path / 'registry.db'}")
    migrate(engine)
    tenants = application.tenants(engine, tmp_path)
    tenants.add("ridge", Ridge().fit(np.eye(3, 2), [1.0, 2.0, 3.0]))
    runner = web.AppRunner(tenants.app(peeks=True, predict_timeout_s=60.0))
    await runner.setup()
    assert runner.server is not None
    runner.app[FAST_PATH].install(runner.server)
    asking = Application(runner.server)
    body = b'{"inputs": [{"name": "row", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]}'
    head = f"POST /v2/models/ridge/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    answers = [await asking.ask(head.encode(), body) for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert quick[-10:] == [True] * 10
    asking.close()
    await runner.cleanup()
    engine.dispose()

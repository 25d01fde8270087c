"""A port for gRPC with an application behind it, and calls of it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from sqlalchemy import create_engine

from tenantry.tracing.sampling import Sampler
from tenantry_server.app import FAST_PATH
from tenantry_server.grpc_v2.asking import Application
from tenantry_server.grpc_v2.messages import SERVICE, message
from tenantry_server.grpc_v2.port import Port
from tenantry_server.toys import SumModel
from tenantry_server.tracing import requests
from tests.support.databases.migrated import migrate
from tests.support.tenants import application
from tests.support.tenants.application import BODY_BYTES, Exits, GatedModel

ROW = {"name": "a", "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [1.0]}}
OTHER = {"name": "b", "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [2.0]}}
SUM = 103.0  # what `good` answers to a row of 1 and 2


class Stub:
    """Calls of the protocol over one channel.

    Attributes:
        channel: to the port.
        port: that it leads to.
        number: of that port.
    """

    def __init__(self, channel: grpc.aio.Channel, port: Port, number: int) -> None:
        self.channel = channel
        self.port = port
        self.number = number

    def call(self, call: str, **fields: Any) -> Any:
        return self.send(call, message(f"{call}Request")(**fields))

    def send(self, name: str, asked: Any, **how: Any) -> Any:
        method: Any = self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=lambda each: each.SerializeToString(),
            response_deserializer=message(f"{name}Response").FromString,
        )
        return method(asked, **how)

    def stream(self, asked: Iterable[Any], **how: Any) -> Any:
        method: Any = self.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            request_serializer=lambda each: each.SerializeToString(),
            response_deserializer=message("ModelStreamInferResponse").FromString,
        )
        return method(iter(asked), **how)


def infer(user_id: str = "good", *tensors: dict[str, Any], **more: Any) -> Any:
    return message("ModelInferRequest")(model_name=user_id, inputs=tensors or (ROW, OTHER), **more)


@asynccontextmanager
async def served(
    tmp_path: Path,
    of_port: dict[str, Any] | None = None,
    *,
    sampler: Sampler | None = None,
    **settings: Any,
) -> AsyncIterator[Stub]:
    """An application behind a port, with a model that answers, one that fails and one that waits.

    Args:
        sampler: traces requests; None: nothing does.
    """
    engine = create_engine(f"sqlite:///{tmp_path / 'registry.db'}")
    migrate(engine)
    tenants = application.tenants(engine, tmp_path)
    for user_id, model in (("good", SumModel(100)), ("exits", Exits())):
        tenants.add(user_id, model)
    tenants.add("gated", GatedModel())
    tenants.assign("coming", None)
    runner = web.AppRunner(
        tenants.app(server_id="server-7", predict_timeout_s=60.0, **settings), handler_cancellation=True
    )
    await runner.setup()
    assert runner.server is not None
    runner.app[FAST_PATH].install(runner.server)
    if sampler is not None:
        requests.install(runner.server, sampler)
    port = Port(Application(runner.server), **{"max_bytes": BODY_BYTES, **(of_port or {})})
    number = await port.open("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
        yield Stub(channel, port, number)
    await port.close(1.0)
    await runner.cleanup()
    engine.dispose()

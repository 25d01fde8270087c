"""The Open Inference Protocol over gRPC: our port beside MLServer's, called alike by one client."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import grpc

from benchmarks.operator.report import quantile
from benchmarks.serving import children, ours
from benchmarks.serving.contenders import CONTENDERS
from benchmarks.serving.endpoint import Endpoint, WrongAnswer, check
from benchmarks.serving.environments import PeerUnavailable
from benchmarks.serving.options import Options
from benchmarks.serving.races import compared, ridge_tenants
from benchmarks.serving.report import Row
from benchmarks.serving.tenants import ROW, Tenants
from benchmarks.serving.throughput import Rounds
from benchmarks.serving.wrk import CONNECTIONS, Load, cpu_s
from tenantry_server.grpc_v2.messages import SERVICE, message

_TARGET = 3.0  # ratio, at least
_PORT = r'"port": (\d+)'  # of the only line of the log that has one


def grpc_calls(options: Options) -> list[Row]:
    """ModelInfer of a Ridge pipeline for each of 50 tenants, with typed contents."""
    tenants = ridge_tenants(options)
    workload = f"gRPC: Ridge pipeline, {tenants.count} tenants"
    folder = options.folder / "grpc"
    try:
        with (
            ours.running(tenants, ours.file_ids(tenants), folder, {"TENANTRY_GRPC_PORT": "0"}) as warm,
            CONTENDERS["mlserver"](tenants, folder) as other,
        ):
            own = replace(warm, grpc=f"127.0.0.1:{children.printed(_PORT, folder / 'server.log')}")
            both = (own, other)
            for endpoint in both:
                check(endpoint, tenants)
            rounds = asyncio.run(_rounds(both, tenants, options))
    except (PeerUnavailable, WrongAnswer) as error:
        return [Row(workload, "MLServer", target=f"at least {_TARGET:g}", note=str(error))]
    return [compared(workload, rounds, own, other, _TARGET)]


async def _rounds(endpoints: tuple[Endpoint, ...], tenants: Tenants, options: Options) -> Rounds:
    runs: dict[str, list[Load]] = {endpoint.name: [] for endpoint in endpoints}
    for endpoint in endpoints:
        await _run(endpoint, tenants, 1.0)
    for n in range(options.rounds):
        for endpoint in endpoints if n % 2 == 0 else reversed(endpoints):
            runs[endpoint.name].append(await _run(endpoint, tenants, options.seconds))
    return Rounds(runs)


async def _run(endpoint: Endpoint, tenants: Tenants, seconds: float) -> Load:
    """Call as fast as it answers, over one channel; the first answer of each caller is checked.

    Raises:
        WrongAnswer: it is not scikit-learn's.
    """
    values = list(ROW.values())
    row = {
        "name": "row",
        "datatype": "FP64",
        "shape": [1, len(values)],
        "contents": {"fp64_contents": values},
    }
    asked = [
        message("ModelInferRequest")(model_name=tenants.user_id(n), inputs=[row]).SerializeToString()
        for n in range(tenants.count)
    ]
    took_ms: list[float] = []
    async with grpc.aio.insecure_channel(endpoint.grpc) as channel:
        infer: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        ends_s = time.monotonic() + seconds

        async def caller(first: int) -> None:
            n = first
            while time.monotonic() < ends_s:
                began_s = time.perf_counter()
                answer = await infer(asked[n])
                took_ms.append((time.perf_counter() - began_s) * 1e3)
                if n == first:
                    _check(endpoint, tenants, n, answer)
                n = (n + CONNECTIONS) % tenants.count

        before_s, began_s = cpu_s(endpoint.pid), time.monotonic()
        await asyncio.gather(*map(caller, range(CONNECTIONS)))
        spent_s, took_s = cpu_s(endpoint.pid) - before_s, time.monotonic() - began_s
    count = len(took_ms)
    return Load(
        count / took_s, quantile(took_ms, 0.5), quantile(took_ms, 0.99), spent_s / count * 1e6, count
    )


def _check(endpoint: Endpoint, tenants: Tenants, n: int, answer: bytes) -> None:
    (output,) = message("ModelInferResponse").FromString(answer).outputs
    (seen,) = output.contents.fp64_contents
    if abs(seen - tenants.expected(n)) > 1e-9 * abs(tenants.expected(n)):
        raise WrongAnswer(f"{endpoint.name}: {tenants.user_id(n)}: {seen}, not {tenants.expected(n)}")

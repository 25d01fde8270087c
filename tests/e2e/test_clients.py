"""Other people's clients, unmodified, against `tenantry up`; each in an environment of its own.

Each script prints what its client made of our answers, as JSON, and the test holds that against
scikit-learn's own predictions.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tenantry_server import publish
from tests.support.environments import environment
from tests.support.processes import up
from tests.support.processes.up import Up

pytestmark = pytest.mark.timeout(1800)  # the first run on a machine installs the clients

TRIPS = pd.DataFrame(
    {"km": [1.0, 2.0, 3.0, 4.0], "hour": [8.0, 9.0, 17.0, 8.0], "city": ["Oslo", "Rome", "Oslo", "Bern"]}
)
NUMBERS = TRIPS[["km", "hour"]]
RIDGE = Ridge().fit(NUMBERS, [1.0, 2.0, 3.0, 4.5])
CHANCES = LogisticRegression().fit(NUMBERS, [0, 0, 1, 1])
LABELS = LogisticRegression().fit(NUMBERS, ["early", "early", "late", "late"])
CITIES = make_pipeline(
    ColumnTransformer([("city", OneHotEncoder(), ["city"])], remainder="passthrough"), Ridge()
).fit(TRIPS, [1.0, 2.0, 3.0, 4.5])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server of four tenants."""
    home = tmp_path_factory.mktemp("clients")
    for user_id, model, method in (
        ("ridge", RIDGE, "predict"),
        ("chances", CHANCES, "predict_proba"),
        ("labels", LABELS, "predict"),
        ("cities", CITIES, "predict"),
    ):
        publish(model, user_id=user_id, to=home / "models", manifests=home / "manifests", method=method)
    opened = {"TENANTRY_OPEN_LISTS": "true", "TENANTRY_OPEN_REPOSITORY": "true", "TENANTRY_GRPC_PORT": "0"}
    with up.running(home / "manifests", home / "state", servers=1, env=opened) as running:
        running.until_ready(4)
        yield running


def grpc_address(server: Up) -> str:
    """Where the server answers gRPC, as its log says."""
    return next(f"127.0.0.1:{line['port']}" for line in server.log if line["event"] == "serving gRPC")


def run(python: Path, *argv: str) -> str:
    """What a program printed that must end well."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), *argv], capture_output=True, text=True, check=False, timeout=120, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


TRITON = """
import json, sys
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1].removeprefix("http://"))
rows = np.array(json.loads(sys.argv[2]))
cities = np.array(json.loads(sys.argv[3]), dtype=object).reshape(-1, 1)


def tensor(name, values, datatype, binary=True):
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def column(name, dtype, datatype):
    return tensor(name, rows[:, [["km", "hour"].index(name)]].astype(dtype), datatype)


def names(entries):
    return sorted(entry["name"] for entry in entries if entry["state"] == "READY")


matrix = [tensor("whatever", rows, "FP64")]
(version,) = client.get_model_metadata("ridge")["versions"]
seen = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "server": client.get_server_metadata()["name"],
    "model ready": client.is_model_ready("ridge"),
    "model ready in its version": client.is_model_ready("ridge", version),
    "stranger ready": client.is_model_ready("nobody"),
    "metadata": client.get_model_metadata("ridge"),
}
answer = client.infer("ridge", matrix, request_id="7")
seen["binary"] = answer.as_numpy("predict").tolist()
seen["id"] = answer.get_response()["id"]
plain = [triton.InferRequestedOutput("predict", binary_data=False)]
answer = client.infer("ridge", [tensor("x", rows, "FP64", binary=False)], outputs=plain)
seen["json"] = answer.as_numpy("predict").tolist()
answer = client.infer("ridge", [column("hour", np.int32, "INT32"), column("km", np.float32, "FP32")])
seen["columns"] = answer.as_numpy("predict").tolist()
for algorithm in ("gzip", "deflate"):
    answer = client.infer("ridge", matrix, request_compression_algorithm=algorithm,
                          response_compression_algorithm=algorithm)
    seen[algorithm] = answer.as_numpy("predict").tolist()
seen["async"] = client.async_infer("ridge", matrix).get_result().as_numpy("predict").tolist()
seen["proba"] = client.infer("chances", matrix).as_numpy("predict_proba").tolist()
seen["labels"] = [label.decode() for label in client.infer("labels", matrix).as_numpy("predict")]
text = [tensor("city", cities, "BYTES"), column("km", float, "FP64"), column("hour", np.int64, "INT64")]
seen["text"] = client.infer("cities", text).as_numpy("predict").tolist()
client.load_model("ridge")
seen["loaded"] = "ridge" in names(client.get_model_repository_index())
client.unload_model("ridge")
seen["unloaded"] = "ridge" not in names(client.get_model_repository_index())
seen["again"] = client.infer("ridge", matrix).as_numpy("predict").tolist()
errors = {}
for name, call in {
    "stranger": lambda: client.infer("nobody", matrix),
    "shape": lambda: client.infer("ridge", [tensor("x", rows[:, :1], "FP64")]),
    "version": lambda: client.infer("ridge", matrix, model_version="1"),
}.items():
    try:
        call()
    except InferenceServerException as error:
        errors[name] = [error.status(), error.message()]
seen["errors"] = errors
print(json.dumps(seen))
"""


def test_tritonclient_works_unmodified(server: Up) -> None:
    """Metadata, both ways to send tensors and to get them, text, compression, the repository, errors."""
    python = environment("tritonclient", "tritonclient[http]==2.73.0")
    rows, cities = json.dumps(NUMBERS.to_numpy().tolist()), json.dumps(TRIPS["city"].tolist())
    seen = json.loads(run(python, "-c", TRITON, server.url, rows, cities))
    expected = pytest.approx(RIDGE.predict(NUMBERS).tolist())
    for way in ("binary", "json", "columns", "gzip", "deflate", "async", "again"):
        assert seen[way] == expected, way
    assert seen["id"] == "7"
    assert np.array(seen["proba"]) == pytest.approx(CHANCES.predict_proba(NUMBERS))
    assert seen["labels"] == LABELS.predict(NUMBERS).tolist()
    assert seen["text"] == pytest.approx(CITIES.predict(TRIPS).tolist())
    for truth in ("live", "ready", "model ready", "model ready in its version", "loaded", "unloaded"):
        assert seen[truth] is True, truth
    assert seen["stranger ready"] is False
    assert seen["server"] == "tenantry"
    assert seen["metadata"]["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 2]}]
    assert seen["metadata"]["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [-1]}]
    errors = seen["errors"]
    assert errors["stranger"][0] == "404"
    assert "no model is assigned to user 'nobody'" in errors["stranger"][1]
    assert errors["shape"] == ["422", "row 0 has 1 values, the model takes 2"]
    assert errors["version"][0] == "404"


TRITON_GRPC = """
import json, queue, sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
rows = np.array(json.loads(sys.argv[2]))
cities = np.array(json.loads(sys.argv[3]), dtype=object).reshape(-1, 1)


def tensor(name, values, datatype):
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


matrix = [tensor("whatever", rows, "FP64")]
seen = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "server": client.get_server_metadata().name,
    "model ready": client.is_model_ready("ridge"),
    "metadata": [each.name for each in client.get_model_metadata("ridge").outputs],
    "index": sorted(each.name for each in client.get_model_repository_index().models),
    "raw": client.infer("ridge", matrix).as_numpy("predict").tolist(),
    "asked": client.infer("ridge", matrix, outputs=[triton.InferRequestedOutput("predict")])
    .as_numpy("predict")
    .tolist(),
    "labels": [text.decode() for text in client.infer("labels", matrix).as_numpy("predict")],
    "text": client.infer(
        "cities",
        [
            tensor("km", rows[:, :1], "FP64"),
            tensor("hour", rows[:, 1:], "FP64"),
            tensor("city", cities, "BYTES"),
        ],
    )
    .as_numpy("predict")
    .tolist(),
}
errors = {}
for name, ask in {
    "stranger": lambda: client.infer("nobody", matrix),
    "shape": lambda: client.infer("ridge", [tensor("x", rows[:, :1], "FP64")]),
}.items():
    try:
        ask()
    except InferenceServerException as error:
        errors[name] = [error.status(), error.message()]
answers = queue.Queue()
client.start_stream(lambda result, error: answers.put(error.message() if error else result))
for user_id in ("ridge", "nobody", "ridge"):
    client.async_stream_infer(user_id, matrix)
seen["streamed"] = []
for _ in range(3):
    given = answers.get(timeout=60)
    seen["streamed"].append(given if isinstance(given, str) else given.as_numpy("predict").tolist())
client.stop_stream()
client.unload_model("ridge")
client.load_model("ridge")
print(json.dumps(seen | {"errors": errors}))
"""


def test_tritonclient_for_grpc_works_unmodified(server: Up) -> None:
    """Metadata, the index, loads, raw tensors, text, a stream in which one request fails, errors."""
    python = environment("tritonclient-grpc", "tritonclient[grpc]==2.73.0")
    rows, cities = json.dumps(NUMBERS.to_numpy().tolist()), json.dumps(TRIPS["city"].tolist())
    seen = json.loads(run(python, "-c", TRITON_GRPC, grpc_address(server), rows, cities))
    expected = pytest.approx(RIDGE.predict(NUMBERS).tolist())
    for way in ("raw", "asked"):
        assert seen[way] == expected, way
    assert seen["labels"] == LABELS.predict(NUMBERS).tolist()
    assert seen["text"] == pytest.approx(CITIES.predict(TRIPS).tolist())
    for truth in ("live", "ready", "model ready"):
        assert seen[truth] is True, truth
    assert (seen["server"], seen["metadata"]) == ("tenantry", ["predict"])
    assert seen["index"] == ["chances", "cities", "labels", "ridge"]
    first, failed, last = seen["streamed"]
    assert (first, last) == (expected, expected)
    assert "no model is assigned to user 'nobody'" in failed
    assert seen["errors"]["stranger"][0] == "StatusCode.NOT_FOUND"
    assert seen["errors"]["shape"] == [
        "StatusCode.INVALID_ARGUMENT",
        "row 0 has 1 values, the model takes 2",
    ]


KSERVE_GRPC = """
import asyncio, json, sys
import grpc
import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient

rows, seen = json.loads(sys.argv[2]), {}


def request(raw):
    tensor = InferInput("input", [len(rows), 2], "FP64")
    if raw:
        tensor.set_data_from_numpy(np.array(rows), binary_data=True)
    else:
        tensor.data = [value for row in rows for value in row]
    return InferRequest("ridge", [tensor], request_id="7")


async def main():
    client = InferenceGRPCClient(sys.argv[1])
    seen["live"] = await client.is_server_live()
    seen["ready"] = await client.is_server_ready()
    seen["model ready"] = await client.is_model_ready("ridge")
    for way, raw in (("typed", False), ("raw", True)):
        answer = await client.infer(request(raw))
        seen[way], seen["id"] = answer.outputs[0].as_numpy().tolist(), answer.id
    try:
        await client.infer(InferRequest("nobody", request(True).inputs))
    except grpc.RpcError as error:
        seen["error"] = [error.code().name, error.details()]


asyncio.run(main())
print(json.dumps(seen))
"""


def test_kserves_client_for_grpc_works_unmodified(server: Up) -> None:
    """InferenceGRPCClient, with values in the tensors and with bytes behind them."""
    python = environment("kserve", "kserve==0.21.0")
    seen = json.loads(
        run(python, "-c", KSERVE_GRPC, grpc_address(server), json.dumps(NUMBERS.to_numpy().tolist()))
    )
    expected = pytest.approx(RIDGE.predict(NUMBERS).tolist())
    assert (seen["typed"], seen["raw"], seen["id"]) == (expected, expected, "7")
    for truth in ("live", "ready", "model ready"):
        assert seen[truth] is True, truth
    assert seen["error"][0] == "NOT_FOUND"
    assert seen["error"][1].startswith("no model is assigned to user 'nobody'")


KSERVE = """
import asyncio, json, sys
import httpx
import numpy as np
from kserve import InferInput, InferRequest, InferenceRESTClient
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

url, rows = sys.argv[1], json.loads(sys.argv[2])
seen = {}


async def first():
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    seen["v1 live"] = await client.is_server_live(url)
    seen["v1 ready"] = await client.is_model_ready(url, "ridge")
    seen["v1"] = (await client.infer(url, {"instances": rows}, model_name="ridge"))["predictions"]
    try:
        await client.infer(url, {"instances": [[1]]}, model_name="ridge")
    except httpx.HTTPStatusError as error:
        seen["v1 error"] = str(error)
    await client.close()


def request(binary, **more):
    tensor = InferInput("input", [len(rows), 2], "FP64")
    tensor.set_data_from_numpy(np.array(rows), binary_data=binary)
    return InferRequest("ridge", [tensor], request_id="7", **more)


async def second():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    seen["v2 live"] = await client.is_server_live(url)
    seen["v2 ready"] = await client.is_server_ready(url)
    seen["v2 model ready"] = await client.is_model_ready(url, "ridge")
    seen["v2 stranger ready"] = await client.is_model_ready(url, "nobody")
    binary = {"request_outputs": [RequestedOutput("predict", {"binary_data": True})]}
    for way, asked in {
        "json": request(False),
        "binary": request(True),
        "binary both ways": request(True, **binary),
    }.items():
        answer = await client.infer(url, asked, model_name="ridge")
        seen[way] = answer.outputs[0].as_numpy().tolist()
    seen["v2 id"], seen["v2 model"] = answer.id, answer.model_name
    try:
        await client.infer(url, request(True), model_name="nobody")
    except httpx.HTTPStatusError as error:
        seen["v2 error"] = str(error)
    await client.close()


asyncio.run(first())
asyncio.run(second())
print(json.dumps(seen))
"""


def test_kserves_client_works_unmodified(server: Up) -> None:
    """InferenceRESTClient in both protocols; it shows an error's message only where it understood it."""
    python = environment("kserve", "kserve==0.21.0")
    seen = json.loads(run(python, "-c", KSERVE, server.url, json.dumps(NUMBERS.to_numpy().tolist())))
    expected = pytest.approx(RIDGE.predict(NUMBERS).tolist())
    for way in ("v1", "json", "binary", "binary both ways"):
        assert seen[way] == expected, way
    for truth in ("v1 live", "v1 ready", "v2 live", "v2 ready", "v2 model ready"):
        assert seen[truth] is True, truth
    assert seen["v2 stranger ready"] is False
    assert (seen["v2 id"], seen["v2 model"]) == ("7", "ridge")
    assert seen["v1 error"].startswith("row 0 has 1 values, the model takes 2, '422")
    assert seen["v2 error"].startswith("no model is assigned to user 'nobody'; apply a TenantModel")


@pytest.mark.parametrize("options", [[], ["--binary-data"], ["--batch-size", "3"]], ids=" ".join)
def test_mlserver_infer_works_unmodified(server: Up, tmp_path: Path, options: list[str]) -> None:
    """Its batch command, from a file of requests to a file of answers, also several in one request."""
    python = environment("mlserver", "mlserver==1.7.1")
    requests: list[dict[str, Any]] = [
        {
            "id": str(number),
            "inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 2], "data": list(row)}],
        }
        for number, row in enumerate(NUMBERS.to_numpy().tolist())
    ]
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_text("".join(f"{json.dumps(request)}\n" for request in requests))
    mlserver = str(python.with_name("mlserver"))
    target = [
        "-u",
        server.url.removeprefix("http://"),
        "-m",
        "ridge",
        "-i",
        str(asked),
        "-o",
        str(answered),
    ]
    run(python, mlserver, "infer", *target, *options)
    answers = [json.loads(line) for line in answered.read_text().splitlines()]
    answers.sort(key=lambda answer: int(answer["parameters"]["batch_index"]))
    got = [value for answer in answers for value in answer["outputs"][0]["data"]]
    assert got == pytest.approx(RIDGE.predict(NUMBERS).tolist())
    assert {answer["model_name"] for answer in answers} == {"ridge"}

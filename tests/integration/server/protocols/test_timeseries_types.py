"""KServe's own published types read our answers, and what they write is a request of ours."""

import json
import subprocess
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from pandas import Timestamp

from tenantry_server.toys import DriftForecaster
from tests.support.environments import environment
from tests.support.tenants.registered import Tenants

WRITES = """
from kserve.protocol.rest.timeseries import ForecastOptions, ForecastRequest, TimeSeriesInput
series = dict(type="univariate_time_series", name="demand", frequency="D")
inputs = [
    TimeSeriesInput(**series, series=[]),
    TimeSeriesInput(**series, series=[1.0, 2.0], start_timestamp="2026-12-05T00:00:00"),
]
options = ForecastOptions(horizon=2, quantiles=[0.1, 0.9])
print(ForecastRequest(model="ann", inputs=inputs, options=options).model_dump_json())
"""
READS = """
import json, sys
from kserve.protocol.rest.timeseries import ForecastResponse
from kserve.protocol.rest.timeseries.types import ErrorResponse
answer, error = json.loads(sys.argv[1])
read = ForecastResponse.model_validate(answer)
assert sorted(answer) == sorted(read.model_dump()), "a member that KServe has not, or one that is missing"
refused = ErrorResponse.model_validate(error)
contents = [each.model_dump(mode="json") for each in read.outputs[0].content]
print(json.dumps([read.status, contents, refused.error.type]))
"""


async def test_kserves_types_write_our_requests_and_read_our_answers(tmp_path: Path) -> None:
    python = environment("kserve", "kserve==0.21.0")
    tenants = Tenants(tmp_path)
    tenants.add("ann", DriftForecaster("D", Timestamp("2026-11-29")))
    answers = []
    async with TestClient[Request, Application](TestServer(tenants.app())) as client:
        for body, status in ((_run(python, WRITES), 200), ("{}", 422)):
            async with client.post("/v1/timeseries/forecast", data=body) as response:
                assert response.status == status
                answers.append(await response.json())
    tenants.engine.dispose()
    status, (own, after), reason = json.loads(_run(python, READS, json.dumps(answers)))
    assert (status, reason) == ("completed", "InvalidRequest")
    assert own["mean_forecast"] == [11.0, 12.0]
    assert own["quantiles"] == {"0.1": [11.1, 12.1], "0.9": [11.9, 12.9]}
    assert (after["start_timestamp"], after["mean_forecast"]) == ("2026-12-07", [3.0, 4.0])


def _run(python: Path, program: str, *argv: str) -> str:
    done = subprocess.run([python, "-c", program, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout

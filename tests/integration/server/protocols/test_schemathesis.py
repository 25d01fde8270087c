"""Schemathesis against /openapi.json: whatever the document allows, or does not, is answered as it says."""

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from sklearn.linear_model import Ridge

from tenantry_server.toys import SumModel
from tests.support.environments import environment
from tests.support.tenants.registered import Tenants

pytestmark = pytest.mark.timeout(1800)  # the first run on a machine installs it

# Rows may be as the document says and still not be what a model takes; and a user may be called
# "ann:predict", so that GET is allowed where the document has only POST /v1/models/ann:predict.
UNFIT_CHECKS = "positive_data_acceptance,allow_header_conformance"


@pytest.mark.parametrize("user_id", ["ridge", None])
async def test_every_generated_request_is_answered_as_documented(
    user_id: str | None, tmp_path: Path
) -> None:
    """No 500, no status, header or body that the document does not have; None: users are made up too."""
    python = await asyncio.to_thread(environment, "schemathesis", "schemathesis==4.32.5")
    tenants = Tenants(tmp_path)
    tenants.add("sum", SumModel())
    tenants.add("ridge", Ridge().fit([[0.0, 1.0], [1.0, 3.0]], [0.0, 2.0]))
    config = tmp_path / "schemathesis.toml"
    phases = "examples,coverage,fuzzing" if user_id else "fuzzing"  # which alone makes up users
    chosen = f'user_id = "{user_id}"\nversion = "unpinned"\n' if user_id else ""
    config.write_text(f"[parameters]\n{chosen}")
    command: list[str | Path] = [python.with_name("schemathesis"), "--config-file", config, "run"]
    options = ["--seed", "1", "--max-examples", "5", "--exclude-checks", UNFIT_CHECKS, "--no-color"]
    async with TestServer(tenants.app()) as server:
        document = str(server.make_url("/openapi.json"))
        process = await asyncio.create_subprocess_exec(
            *command,
            document,
            *options,
            f"--phases={phases}",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    tenants.engine.dispose()
    text = output.decode()
    sys.stdout.write(text)  # shown where the test fails
    assert process.returncode == 0
    assert "Tested: 30" in text

"""TensorFlow models behind the model server, from `publish` to the answer; run by test_tensorflow.py."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from tenantry_server import FileSystemModelRepository, make_app, publish
from tests.apart import tensorflow_models as models
from tests.apart.published import Published

Client = TestClient[Request, Application]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """One for all: to train and export three networks takes as long as everything that is asked of them."""
    folder = tmp_path_factory.mktemp("networks")
    exported = folder / "exported"
    models.regression().export(str(exported), verbose=False)
    trained = {"network": models.regression(), "folder": exported, "text": models.of_text()}
    declared = {
        user_id: publish(model, user_id=user_id, to=folder / "models") for user_id, model in trained.items()
    }
    assert [Path(each.spec.model.uri).suffix for each in declared.values()] == [".keras", ".zip", ".keras"]
    pinned = {user_id: str(each.spec.model.pinned()) for user_id, each in declared.items()}
    app = make_app(Published(pinned), FileSystemModelRepository(), predict_timeout_s=170)
    async with TestClient(TestServer(app)) as client:
        yield client


async def refused(response: ClientResponse) -> str:
    assert response.status == 422
    return str((await response.json())["error"]["message"])


@pytest.mark.parametrize("user_id", ["network", "folder"])
async def test_a_network_is_served_as_it_was_trained(client: Client, user_id: str) -> None:
    expected = models.regression().predict(models.FIGURES, verbose=0)[:, 0].tolist()
    for rows in (models.FIGURES, models.FIGURES[:1]):
        async with client.post(f"/predict/{user_id}", json={"instances": rows.tolist()}) as response:
            assert response.status == 200
            answer = (await response.json())["predictions"]
        assert answer == pytest.approx(expected[: len(rows)], rel=1e-5, abs=1e-6)


async def test_columns_are_asked_by_name_and_text_is_taken(client: Client) -> None:
    body = [{"city": "Rome", "km": 2.5}, {"km": 1, "city": "elsewhere"}]
    async with client.post("/predict/text", json=body) as response:
        assert response.status == 200
        assert len(await response.json()) == 2


async def test_what_a_network_does_not_take_is_a_422_in_words(client: Client) -> None:
    async with client.post("/predict/network", json={"instances": [[1, 2, None, 4]]}) as response:
        assert "missing" in await refused(response)
    async with client.post("/predict/network", json={"instances": [[1, 2, 1e39, 4]]}) as response:
        assert "row 0, column 2: 1e+39 is not of type float32" in await refused(response)
    async with client.post("/predict/network", json={"instances": [[1, 2]]}) as response:
        assert "row 0 has 2 values, the model takes 4" in await refused(response)
    async with client.post("/predict/text", json=[{"city": None, "km": 1}]) as response:
        assert "column 'city' must be text" in await refused(response)
    async with client.post("/predict/text", json=[{"city": "Oslo", "km": "far"}]) as response:
        assert "column 'km' must be a number" in await refused(response)

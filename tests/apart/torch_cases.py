"""TorchModel, against what PyTorch itself answers; run by test_torch.py."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from aiohttp.test_utils import TestClient, TestServer
from torch import nn

from tenantry import ModelId
from tenantry.errors import AnswersDiffer, ArtifactInvalid
from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    bounded_cache,
    make_app,
    publish,
)
from tenantry_server.describing.card_of import card_of
from tenantry_server.formats.torch.reader import TorchModel
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.calls import score
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tests.apart import torch_models as models
from tests.apart.published import Published
from tests.apart.torch_models import ROWS, loaded
from tests.support.processes.sandboxed import workers

FIGURES = ROWS.double().numpy()
WRITERS: dict[str, Callable[[Any], Any]] = {
    "traced": models.traced,
    "scripted": models.scripted,
    "exported": models.exported,
}


@pytest.fixture(params=list(WRITERS.values()), ids=list(WRITERS))
def written(request: pytest.FixtureRequest) -> Callable[[nn.Module], bytes]:
    """Each way in which a network becomes an artifact."""
    return lambda network: models.written(request.param(network))


def answers(network: nn.Module, *inputs: torch.Tensor) -> Any:
    with torch.no_grad():
        return network(*(inputs or (ROWS,)))


def refusal(data: bytes, **how: Any) -> str:
    with pytest.raises(ArtifactInvalid) as refused:
        loaded(data, **how)
    return str(refused.value)


def test_it_answers_as_the_library_does_for_any_number_of_rows(written: Callable[..., bytes]) -> None:
    network = models.network()
    data = written(network)
    model = loaded(data)
    assert isinstance(model, TorchModel)
    assert (model.numeric, model.feature_count, model.feature_names) == (True, 3, None)
    assert model.independent_rows
    assert not model.accepts_missing
    expected = answers(network)[:, 0].numpy()
    for count in (20, 7, 1, 0):
        answer = model.predict_rows(FIGURES[:count])
        assert answer.shape == (count,)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected[:count], rtol=1e-5, atol=1e-6)
    assert torch.get_num_threads() == 1
    size = model.own_bytes()
    assert size is not None
    assert 156 < size < 2_000_000  # of weights


def test_a_card_gives_its_columns_names(written: Callable[..., bytes]) -> None:
    """Rows are then asked by name in any order, and a new version has to answer as this one did."""
    network = models.network()
    data = written(network)
    frame = pd.DataFrame(FIGURES, columns=["km", "hour", "age"])
    card = card_of(data, ModelId("file:///m.pt"), frame).to_json()
    model = loaded(data, card=card)
    turned = frame[["age", "km", "hour"]].to_json(orient="records", double_precision=15)
    np.testing.assert_allclose(
        score(model, parse(turned.encode())), answers(network)[:, 0], rtol=1e-5, atol=1e-6
    )
    other = models.network()
    nn.init.constant_(other[4].bias, 9.0)
    changed = written(other)
    with pytest.raises(AnswersDiffer):
        loaded(changed, card=card)
    wider = models.written(models.scripted(nn.Linear(2, 1)))
    narrow = card_of(wider, ModelId("file:///m.pt"), frame[["km", "hour"]]).to_json()
    assert re.search("2 columns|has 2", refusal(data, card=narrow))


@pytest.mark.parametrize("write", [models.scripted, None], ids=["scripted", "exported"])
def test_inputs_of_one_column_each_are_taken_by_their_names(write: Any) -> None:
    network = models.Cells().eval()
    if write is None:
        program = models.exported(network, torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))
    else:
        program = write(network)
    data = models.written(program)
    label, chances = loaded(data), loaded(data, method="predict_proba")
    assert label.feature_names == ("km", "shop")
    km, shop = torch.tensor([[0.5], [2.0]]), torch.tensor([1, 4])
    expected = answers(network, km, shop)
    asked = parse(b'[{"shop": 1, "km": 0.5}, {"km": 2, "shop": 4}]')
    assert score(label, asked).tolist() == expected[0].tolist()
    np.testing.assert_allclose(score(chances, asked), expected[1], rtol=1e-5)
    with pytest.raises(ValueError, match=r"row 0, column 'shop': 1\.5 is not of type int64"):
        label.predict_rows(np.array([[0.5, 1.5]]))
    with pytest.raises(ValueError, match=r"the model refuses it: .*out of range"):
        label.predict_rows(np.array([[0.5, 9.0]]))
    both = loaded(data, method="predict,predict_proba")
    assert list(score(both, asked)[0]) == ["predict", "predict_proba"]


def test_shapes_and_types_of_their_own() -> None:
    """Doubles, one row at a time, a picture as a flat row, and columns that no weight tells."""
    double = loaded(models.written(models.scripted(models.network().double())))
    assert double.predict_rows(FIGURES).dtype == np.float64
    alone = loaded(models.written(models.exported(models.network(), rows=1)), suffix=".pt2")
    np.testing.assert_allclose(
        alone.predict_rows(FIGURES), answers(models.network())[:, 0], rtol=1e-5, atol=1e-6
    )
    picture = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)).eval()
    flat = loaded(models.written(models.exported(picture, torch.zeros(2, 1, 4, 4))))
    assert (flat.feature_count, flat.predict_rows(np.ones((5, 16))).shape) == (16, (5, 2))
    sliced = loaded(models.written(models.scripted(models.Slices())))
    assert sliced.feature_count is None
    assert sliced.predict_rows(np.ones((5, 4))).shape == (5,)


def test_a_module_that_was_traced_while_it_trained_does_not_share_a_batch() -> None:
    """Its normalisation depends on the other rows: requests of others must not be among them."""
    model = loaded(models.written(models.traced(models.network().train())))
    assert not model.independent_rows


def test_what_can_not_be_served_is_named_and_what_to_do() -> None:
    network = models.network()
    for data in (models.saved(network.state_dict()), models.saved(network)):
        said = refusal(data)
        assert "it is what torch.save writes: weights, or a module without its code" in said
        assert "torch.export.save" in said
    old = models.saved(network.state_dict(), _use_new_zipfile_serialization=False)
    assert "what an old torch.save wrote" in refusal(old)
    assert "declares" not in refusal(old)
    fixed = models.written(models.exported(network, rows=4))
    assert re.search(r"input 'input' takes exactly 4 rows; export it with\s+dynamic_shapes", refusal(fixed))
    assert "returns Dict[str, Tensor]" in refusal(models.written(models.scripted(models.Named())))
    whole = models.written(models.scripted(network))
    assert "its 1 output(s) are no predict_proba" in refusal(whole, method="predict_proba")
    assert "damaged" in refusal(whole[: len(whole) // 2])
    broken = bytearray(models.written(models.exported(network)))
    at = broken.find(b'"graph_module"')
    broken[at : at + 30] = b"x" * 30
    assert re.search("PyTorch can't read it|damaged", refusal(bytes(broken)))
    with pytest.raises(ArtifactInvalid, match=r"the Sequential is .* torch\.nn\.Module needs the code"):
        models.written(network)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with workers(most=4) as pool:
        yield pool


async def test_both_kinds_are_served_from_one_sandboxed_worker(pool: Pool, tmp_path: Path) -> None:
    """From `publish` to the answer; the home of PyTorch is shared, and no program reads our files."""
    network = models.network()
    frame = pd.DataFrame(FIGURES, columns=["km", "hour", "age"])
    programs = {"script": models.scripted(network), "export": models.exported(network)}
    declared = {
        user: publish(program, user_id=user, to=tmp_path / "models", example=frame.head(3))
        for user, program in programs.items()
    }
    suffixes = [Path(each.spec.model.uri).suffix for each in declared.values()]
    assert suffixes == [".pt", ".pt2"]
    files = FileSystemModelRepository()
    files.loader = WorkerLoads(pool, timeout_s=170).load
    app = make_app(
        Published({user: str(each.spec.model.pinned()) for user, each in declared.items()}),
        CachedModelRepository(files, bounded_cache(64 << 20)),
        pool=pool,
        predict_timeout_s=170,
    )
    async with TestClient(TestServer(app)) as client:
        for user in programs:
            async with client.post(f"/predict/{user}", json={"instances": FIGURES.tolist()}) as response:
                answer = await response.json()
                assert response.status == 200, answer
            np.testing.assert_allclose(answer["predictions"], answers(network)[:, 0], rtol=1e-5, atol=1e-6)
            async with client.post(f"/predict/{user}", json={"instances": [[1, None, 3]]}) as response:
                assert response.status == 422
            async with client.post(f"/predict/{user}", json={"instances": [[1e300, 1, 3]]}) as response:
                said = (await response.json())["error"]["message"]
                assert "row 0, column 0: 1e+300 is not of type float32" in said
    assert pool.home_of("torch") is not None

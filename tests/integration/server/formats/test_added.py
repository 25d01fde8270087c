"""A format is added by adding its folder: published, loaded in a real worker, and asked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import tenantry_server

DESCRIPTOR = """
from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="weights",
    suffixes=(".weights",),
    holds="the weight of each column, one a line",
    kind="a file of weights",
    offers=frozenset({"dump"}),
    begins=rb"weights",
    mistaken=((rb"weights", "a file of weights; declare format: weights"),),
)
"""
READER = """
import numpy as np

from tenantry import Model


class Weights(Model):
    numeric = True

    def __init__(self, weights):
        self.weights = np.array(weights)
        self.feature_count = len(weights)

    def predict(self, data):
        return data.to_numpy() @ self.weights


def load(data, model_id):
    head, *lines = data.decode().splitlines()
    if head != "weights":
        raise ValueError(f"its first line is {head!r}")
    return Weights([float(line) for line in lines])


def dump(model):
    if not isinstance(model, Weights):
        return None
    return "\\n".join(["weights", *map(str, model.weights)]).encode(), ".weights"
"""
USE = """
import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import FORMATS
from tenantry_server.publishing import publish
from tenantry_server.rows import json_payload
from tenantry_server.workers.calls.remote import WorkerModel, score
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool

TO = sys.argv[1]


def refused(what, suffix, **how):
    path = Path(TO, f"other{suffix}")
    path.write_bytes(what)
    try:
        publish(path, user_id="ann", to=TO, **how)
    except ArtifactInvalid as error:
        print(error.problem)


async def main():
    from tenantry_server.formats.weights.reader import Weights

    declared = publish(Weights([1.0, 10.0]), user_id="ann", to=TO)
    print(Path(declared.spec.model.uri).suffix)
    pool = Pool(most=1)
    pool.start()
    try:
        await pool.until_ready()
        exact = declared.spec.model.pinned()
        data = Path(exact.uri.removeprefix("file://")).read_bytes()
        model = await asyncio.to_thread(WorkerLoads(pool, timeout_s=180).load, data, exact)
        print(type(model) is WorkerModel, model.feature_count)
        rows = json_payload.parse(b'{"instances": [[1, 2], [3, 4]]}')
        with ThreadPoolExecutor(1) as aside:
            (answer,), _ = await score(model, [rows], 180, aside)
        print(answer.tolist())
    finally:
        pool.close()


if __name__ == "__main__":
    print(FORMATS[-1].name)
    asyncio.run(main())
    refused(b"weights\\n1\\n", ".onnx")
    refused(b"wei", ".weights")
    refused(b"<html>", ".weights")
"""


def test_a_format_is_added_by_adding_its_folder(tmp_path: Path) -> None:
    package = tmp_path / "source/tenantry_server"
    shutil.copytree(Path(tenantry_server.__file__).parent, package)
    added = package / "formats/weights"
    added.mkdir()
    (added / "__init__.py").write_text(DESCRIPTOR)
    (added / "reader.py").write_text(READER)
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "models").mkdir()
    done = subprocess.run(
        [sys.executable, tmp_path / "use.py", tmp_path / "models"],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name, suffix, model, answers, *refused = done.stdout.splitlines()
    assert (name, suffix) == ("weights", ".weights")
    assert model == "True 2", "a model of a class that no kernel is proven equal to stays in its worker"
    assert answers == "[21.0, 43.0]"
    unpublished = "; nothing was published (check=False, --no-check: store it untried)"
    assert refused == [
        f"{problem}{unpublished}"
        for problem in (
            "it is a file of weights; declare format: weights",
            "it is not a file of weights, or it is damaged: ValueError: its first line is 'wei'",
            "it is an HTML page, perhaps the answer of a login or an error",
        )
    ]

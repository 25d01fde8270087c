"""Every kind of model answers as it does in a notebook: alone, in batches, in each protocol."""

import json
import math
import os
import pickle
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from tenantry_server import publish
from tests.support.processes import up as ups
from tests.support.processes.up import Up, ask
from tests.support.tenants.kinds import Kind, kinds
from tests.support.waiting import until

FEW = 5  # rows that are asked
NO_TENSOR = {"own-model"}  # its answers differ in length
# In a process of its own: what plain Python answers to the same rows, from the artifacts alone.
OWN = """
import pickle, sys, joblib
asked = pickle.load(sys.stdin.buffer)
answers = {name: getattr(joblib.load(path), method)(rows) for name, (path, method, rows) in asked.items()}
sys.stdout.buffer.write(pickle.dumps(answers))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Site"]:
    folder = tmp_path_factory.mktemp("kinds")
    manifests = folder / "tenants"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of libraries to people who train: this one deprecated, that one odd
        trained = {each.name: each for each in kinds()}
    paths = {}
    for each in trained.values():
        declared = publish(
            each.model,
            user_id=each.name,
            to=folder / "models",
            manifests=manifests,
            method=each.method,
            example=each.example,
        )
        paths[each.name] = Path(
            urllib.request.url2pathname(declared.spec.model.uri.removeprefix("file://"))
        )
    asked = {name: (paths[name], each.method, each.example[:FEW]) for name, each in trained.items()}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OWN],
        input=pickle.dumps(asked),
        capture_output=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    own = pickle.loads(done.stdout)
    with ups.running(manifests, folder / "state", servers=1, env={"OMP_NUM_THREADS": "1"}) as up:
        up.until_ready(len(trained), timeout_s=180)
        yield Site(up, trained, own)


class Site:
    """A server of all kinds, and what each answers in plain Python."""

    def __init__(self, up: Up, trained: dict[str, Kind], own: dict[str, Any]) -> None:
        self.up = up
        self.trained = trained
        self.own = own

    def expected(self, name: str) -> list[Any]:
        """As JSON has it, row by row."""
        answer = self.own[name]
        if isinstance(answer, list) and self.trained[name].method != "predict":  # an array an output
            answer = np.stack(answer, axis=1)
        if isinstance(answer, list):
            return answer
        array = np.asarray(answer)
        if array.dtype.kind == "M":
            return [f"{pd.Timestamp(each).isoformat(timespec='microseconds')}Z" for each in array]
        if array.dtype == np.float32:  # as JSON writes it: the shortest text that is this number
            return [float(str(each)) for each in array]
        listed: list[Any] = array.tolist()
        return listed

    def rows(self, name: str) -> list[Any]:
        """As a client writes them: records, or lists."""
        example = self.trained[name].example[:FEW]
        if isinstance(example, pd.DataFrame):
            return [{key: _json(value) for key, value in row.items()} for row in example.to_dict("records")]
        if isinstance(example, np.ndarray):
            return [[_json(value) for value in row] for row in example]
        return [row if isinstance(row, dict) else [row] for row in example]

    def native(self, name: str, rows: list[Any]) -> list[Any]:
        body = rows if isinstance(rows[0], dict) else {"instances": rows}
        reply = self.up.predict(name, body)
        assert reply.status == 200, reply.body
        return list(reply.body if isinstance(rows[0], dict) else reply.body["predictions"])

    def v1(self, name: str, rows: list[Any]) -> list[Any]:
        reply = self.post(f"/v1/models/{name}:predict", {"instances": rows})
        return list(reply["predictions"])

    def v2(self, name: str, rows: list[Any]) -> list[Any]:
        inputs = [_tensor(each, values) for each, values in _columns(rows)]
        (output,) = self.post(f"/v2/models/{name}/infer", {"inputs": inputs})["outputs"]
        array = np.array(output["data"], dtype=object).reshape(output["shape"])
        return list(array.tolist())

    def document(self, name: str) -> Any:
        return ask(urllib.request.Request(f"{self.up.url}/openapi.json?user={name}")).body

    def post(self, path: str, document: Any) -> Any:
        reply = ask(urllib.request.Request(self.up.url + path, data=json.dumps(document).encode()))
        assert reply.status == 200, reply.body
        return reply.body


def _json(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _columns(rows: list[Any]) -> list[tuple[str, list[Any]]]:
    if isinstance(rows[0], dict):
        return [(name, [row[name] for row in rows]) for name in rows[0]]
    if len(rows[0]) == 1 and isinstance(rows[0][0], str):
        return [("text", [row[0] for row in rows])]
    return [("input", rows)]


def _tensor(name: str, values: list[Any]) -> dict[str, Any]:
    if isinstance(values[0], list):
        return {"name": name, "datatype": "FP64", "shape": [len(values), len(values[0])], "data": values}
    present = {type(value) for value in values if value is not None}
    datatype = "BYTES" if str in present else "BOOL" if bool in present else "FP64"
    if present == {int}:
        datatype = "INT64"
    return {"name": name, "datatype": datatype, "shape": [len(values), 1], "data": values}


def _equal(expected: Any, seen: Any) -> bool:
    if isinstance(expected, list | tuple):
        return len(expected) == len(seen) and all(map(_equal, expected, seen))
    if isinstance(expected, float) and math.isnan(expected):
        return seen is None
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        return math.isclose(expected, seen, rel_tol=1e-9, abs_tol=1e-12)
    return bool(expected == seen)


def _wrong(site: Site, name: str) -> list[str]:
    """Which ways of asking gave another answer than plain Python."""
    expected, rows = site.expected(name), site.rows(name)
    ways = {"native": site.native, "V1": site.v1}
    if name not in NO_TENSOR:
        ways["V2"] = site.v2
    seen = {way: ask_all(name, rows) for way, ask_all in ways.items()}
    seen |= {f"{way}, alone": [ask_all(name, [row])[0] for row in rows] for way, ask_all in ways.items()}
    return [f"{way}: {got}, not {expected}" for way, got in seen.items() if not _equal(expected, got)]


def test_every_kind_answers_as_in_a_notebook(site: Site) -> None:
    assert len(site.trained) >= 40
    assert {name: wrong for name in site.trained if (wrong := _wrong(site, name))} == {}


def test_the_command_shows_what_a_model_takes_and_asks_its_example(site: Site) -> None:
    shown = site.up.tenantry("get", "one-hot", "--registry", site.up.registry_url)
    words = " ".join(shown.stdout.split())
    assert "a (float64), b (float64), n (int64), city (str)" in words
    assert "curl http://127.0.0.1:" in words
    answered = site.up.tenantry("predict", "one-hot", "--example", "--url", site.up.url)
    assert answered.returncode == 0, answered.stderr
    assert _equal(site.expected("one-hot"), json.loads(answered.stdout)[:FEW])


def test_v2_metadata_has_the_names_and_types_of_the_training_frame(site: Site) -> None:
    told = ask(urllib.request.Request(f"{site.up.url}/v2/models/one-hot-flag")).body
    inputs = {each["name"]: each["datatype"] for each in told["inputs"]}
    assert inputs == {"a": "FP64", "b": "FP64", "n": "INT64", "flag": "BOOL"}
    assert told["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [-1]}]


def test_a_version_that_answers_otherwise_is_stalled_and_the_good_one_serves(site: Site) -> None:
    """Of the same artifact with other bytes on its card: what was promised is not what it answers."""
    trained = site.trained["ridge"]
    folder = site.up.manifests.parent / "models"
    good = publish(
        trained.model, user_id="judged", to=folder, manifests=site.up.manifests, example=trained.example
    )
    ready = site.up.until_settled("judged", "Ready")
    worse = Ridge(alpha=1e6).fit(trained.example, trained.model.predict(trained.example))
    card = good.spec.model.card
    assert card is not None
    publish(
        worse,
        user_id="judged",
        to=folder,
        manifests=site.up.manifests,
        spec={"model": {"card": {"uri": card.uri, "sha256": card.sha256}}},
    )
    status = site.up.until_settled("judged", "AnswersDiffer")
    assert "to row 0 of its card's examples where it was trained" in status["message"]
    assert status["modelId"] == ready["modelId"]
    assert _equal(site.expected("ridge"), site.native("judged", site.rows("ridge")))


def test_several_methods_answer_together_in_each_protocol(site: Site) -> None:
    """The label is that of `predict`, the chances those of `predict_proba`, as plain Python has them."""
    chances, rows = site.expected("text"), site.rows("text")
    model = site.trained["text"].model
    declared = publish(
        model,
        user_id="both",
        to=site.up.manifests.parent / "models",
        manifests=site.up.manifests,
        method=["predict", "predict_proba"],
        example=site.trained["text"].example,
    )
    assert declared.spec.model.method == ("predict", "predict_proba")
    assert declared.to_manifest()["spec"]["model"]["method"] == ["predict", "predict_proba"]
    site.up.until_settled("both", "Ready")
    labels = [model.classes_[np.argmax(row)] for row in chances]
    for answered in (site.native("both", rows), site.v1("both", rows)):
        assert [row["predict"] for row in answered] == labels
        assert _equal(chances, [row["predict_proba"] for row in answered])
    inputs = [_tensor(name, values) for name, values in _columns(rows)]
    label, chance = site.post("/v2/models/both/infer", {"inputs": inputs})["outputs"]
    assert (label["name"], label["datatype"], label["data"]) == ("predict", "BYTES", labels)
    assert chance["shape"] == [len(rows), len(model.classes_)]
    assert _equal([each for row in chances for each in row], chance["data"])
    told = ask(urllib.request.Request(f"{site.up.url}/v2/models/both")).body
    assert told["outputs"] == [
        {"name": "predict", "datatype": "BYTES", "shape": [-1]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [-1, len(model.classes_)]},
    ]


@pytest.mark.parametrize("name", ["text", "logistic", "text-multi", "two-forests", "svc"])
def test_numbers_of_classes_have_their_names_on_request(site: Site, name: str) -> None:
    """A kernel, models in workers, and several outputs, whose classes differ."""
    rows, chances = site.rows(name), site.expected(name)
    found = site.trained[name].model.classes_
    outputs = [list(map(str, each)) for each in found] if isinstance(found, list) else None

    def named(row: Any) -> Any:
        if not isinstance(row, list):
            return row  # of two classes decision_function has one number
        if outputs is None:
            return dict(zip(map(str, found), row, strict=True))
        return [dict(zip(classes, each, strict=True)) for classes, each in zip(outputs, row, strict=True)]

    wanted = [named(row) for row in chances]
    native = site.post(f"/predict/{name}?classes=names", rows)
    v1 = site.post(f"/v1/models/{name}:predict?classes=names", {"instances": rows})["predictions"]
    for seen in (native, v1):
        assert _equal_documents(wanted, seen)


def test_names_of_classes_are_refused_where_there_are_none(site: Site) -> None:
    def refused(name: str, query: str) -> tuple[int, str]:
        body = json.dumps(site.rows(name)).encode()
        reply = ask(urllib.request.Request(f"{site.up.url}/predict/{name}?{query}", data=body))
        return reply.status, reply.body["error"]["message"]

    assert "answers with predict, and its card names no classes" in refused("ridge", "classes=names")[1]
    status, words = refused("text", "classes=numbers")
    assert (status, "must be 'names', got 'numbers'" in words) == (422, True)


def test_clients_send_a_new_column_before_the_version_that_takes_it(site: Site) -> None:
    """Without `extraColumns: ignore` either clients or the new version would have to be first, and fail."""
    folder, frame = site.up.manifests.parent / "models", pd.DataFrame({"a": [1.0, 2.0, 4.0]})
    wider = frame.assign(b=[0.5, 0.25, 1.0])
    target = frame["a"] * 3
    rows = wider.to_dict("records")

    def publish_for(columns: pd.DataFrame, **more: Any) -> Ridge:
        model = Ridge(1e-3).fit(columns, target)
        publish(model, user_id="grows", to=folder, manifests=site.up.manifests, example=columns, **more)
        return model

    first = publish_for(frame)
    site.up.until_settled("grows", "Ready")
    refused = site.up.predict("grows", rows)
    assert (refused.status, refused.reason) == (422, "FeatureMismatch")
    publish_for(frame, spec={"model": {"extraColumns": "ignore"}})
    until(lambda: site.up.predict("grows", rows).status == 200, "the new column is ignored")
    assert _equal(first.predict(frame).tolist(), site.native("grows", rows))
    second = publish_for(wider)  # what the manifest said stays
    expected = second.predict(wider).tolist()
    until(lambda: _equal(expected, site.native("grows", rows)), "the new version; each answer was a 200")


def test_the_openapi_document_of_a_user_has_the_names_and_types_of_that_model(site: Site) -> None:
    """Of every kind: each row of the training frame fits its schema, and so does each answer."""
    unfit = {name: problem for name in site.trained if (problem := _misfit(site, name))}
    assert unfit == {}
    told = site.document("one-hot-flag")["components"]["schemas"]["Row"]
    assert {name: column["type"][0] for name, column in told["properties"].items()} == {
        "a": "number",
        "b": "number",
        "n": "integer",
        "flag": "boolean",
    }
    assert told["additionalProperties"] is False
    assert "where it was trained" in told["properties"]["a"]["description"]
    assert (
        ask(urllib.request.Request(f"{site.up.url}/openapi.json?user=nobody")).reason == "ModelNotAssigned"
    )


def _misfit(site: Site, name: str) -> str:
    """What of a user's document is not so; empty: all of it is."""
    document, rows = site.document(name), site.rows(name)

    def problems(content: dict[str, Any], value: Any) -> list[str]:
        schema = content["application/json"]["schema"] | {"components": document["components"]}
        return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]

    for path, methods in document["paths"].items():
        if "/v2/" in path and name in NO_TENSOR:
            continue
        asked = methods["post"]["requestBody"]["content"]
        answered = methods["post"]["responses"]["200"]["content"]
        example = asked["application/json"]["example"]
        reply = ask(urllib.request.Request(site.up.url + path, data=json.dumps(example).encode()))
        found = problems(asked, example) + problems(answered, reply.body)
        shown = answered["application/json"].get("example", reply.body)
        if reply.status != 200 or found or not _equal_documents(shown, reply.body):
            return f"{path}: {reply.status} {found} {reply.body} {shown}"
    native = document["paths"][f"/predict/{name}"]["post"]["requestBody"]["content"]
    if isinstance(rows[0], dict):
        return "; ".join(problems(native, rows))
    if not problems(native, {"instances": [[*rows[0], 1]]}):
        return "a column too many is allowed"
    return "; ".join(problems(native, {"instances": rows}))


def _equal_documents(expected: Any, seen: Any) -> bool:
    if isinstance(expected, dict):
        return expected.keys() == seen.keys() and all(
            _equal_documents(expected[key], seen[key]) for key in expected
        )
    if isinstance(expected, list) and isinstance(seen, list):
        return len(expected) == len(seen) and all(map(_equal_documents, expected, seen))
    return _equal(expected, seen)

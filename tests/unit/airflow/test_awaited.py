"""What one task hands to the next: small, plain JSON, and read back as it was."""

import json
from typing import Any

import pytest

from tenantry import TenantModel
from tenantry_airflow import awaited
from tenantry_airflow.awaited import Awaited

SHA = "9f" * 32


def declared(user_id: str = "store-1") -> TenantModel:
    model = {"uri": f"s3://models/stores/{user_id}/20261129T180000Z-9f9f9f9f.joblib", "sha256": SHA}
    return TenantModel.parse(
        {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": user_id, "namespace": "shops"},
            "spec": {"userId": user_id, "model": model},
        }
    )


@pytest.mark.parametrize("generation", [None, 7])
def test_what_is_published_is_read_back_as_it_was(generation: int | None) -> None:
    """Through JSON, as XCom stores it."""
    published = Awaited.of(declared(), generation)
    document = json.loads(json.dumps(published.to_xcom()))
    assert awaited.read([document], namespace="default") == [published]
    assert published.sha256 == SHA
    assert published.uri == declared().spec.model.uri


def test_an_entry_is_small() -> None:
    """Thousands of them travel by XCom, which is a column of a table."""
    assert len(json.dumps(Awaited.of(declared(), 3).to_xcom())) < 300


def test_names_are_waited_for_at_any_version() -> None:
    one, other = awaited.read(["ann", "shops/bob"], namespace="team")
    assert (one.key, other.key) == (("team", "ann"), ("shops", "bob"))
    assert (one.uri, one.sha256, one.generation) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("store-1", "a list of TenantModels is needed, got 'store-1'"),
        ({"name": "store-1"}, "a list of TenantModels is needed"),
        (None, "got None"),
        ([3], "got 3"),
        ([""], "its name, or an entry of what PublishModelsOperator returns; got ''"),
        ([{"user_id": "ann"}], "got {'user_id': 'ann'}"),
        (["x" * 10, ["y" * 1000]], "…"),
    ],
)
def test_anything_else_is_refused_with_what_was_seen(given: Any, words: str) -> None:
    """A template that was not resolved to a list is a text; waiting for its letters would never end."""
    with pytest.raises(ValueError, match="TenantModel") as caught:
        awaited.read(given, namespace="default")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400

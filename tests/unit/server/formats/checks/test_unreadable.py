"""What a person reads of a file that is not a model: never a bare KeyError."""

import io
import pickle
import re

import joblib
import pytest
from sklearn.linear_model import Ridge

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import FORMATS, load_model


def _saved(**how: int) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), buffer, **how)
    return buffer.getvalue()


class _Fails:
    """Raises when it is made of its state."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("not a number",)


class _Broken:
    def __setstate__(self, state: object) -> None:
        raise LookupError("no such thing")

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}


PLAIN, PRESSED = _saved(), _saved(compress=3)
OWN = {
    "no instruction": (b"(not a model)", "damaged: the byte 0x6e stands where an instruction"),
    "cut off at the start": (PLAIN[:3], "or it is damaged: "),
    "cut off": (PLAIN[: len(PLAIN) // 2], "or it is damaged: "),
    "cut off at the end": (PLAIN[:-1], "or it is damaged: it ends too early"),
    "compressed, and cut off": (PRESSED[: len(PRESSED) // 2], "or it is damaged: "),
    "compressed, and overwritten": (PRESSED[:40] + bytes(20) + PRESSED[60:], "or it is damaged: Error -3"),
    "a table": (b"col1,col2\n1,2\n", "or it is damaged: "),
    "a module that is missing": (
        b"cno_such_module\nThing\n.",
        "it needs the Python module 'no_such_module', which can't be imported here",
    ),
    "a class that is missing": (
        b"cjson\nThing\n.",
        "it needs 'Thing' of the Python module 'json', which can't be imported here",
    ),
    "a class that fails": (
        pickle.dumps(_Broken()),
        "making the model of it fails with LookupError: no such thing",
    ),
    "a function that fails": (pickle.dumps(_Fails()), "invalid literal for int()"),
}


@pytest.mark.parametrize(("data", "words"), OWN.values(), ids=OWN.keys())
def test_a_pickle_that_can_not_be_read_says_where_reading_ended(data: bytes, words: str) -> None:
    with pytest.raises(ArtifactInvalid) as raised:
        load_model(data, ModelId("file:///m.joblib"))
    problem = str(raised.value).removeprefix("file:///m.joblib is not a usable model: ")
    assert words in problem
    assert re.match(r"it |making ", problem), "in words, not with an exception's name first"


ELSE = {
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n",
        "a Git LFS pointer",
    ),
    "HTML": (b"<!DOCTYPE html><title>Sign in</title>", "an HTML page"),
    "S3's error": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG picture"),
    "Parquet": (b"PAR1" + bytes(50), "a Parquet file: data, not a model"),
}


@pytest.mark.parametrize("name", sorted(known.name for known in FORMATS))
@pytest.mark.parametrize(("data", "words"), ELSE.values(), ids=ELSE.keys())
def test_another_kind_of_file_is_called_by_its_name(name: str, data: bytes, words: str) -> None:
    with pytest.raises(ArtifactInvalid, match=rf"^file:///m is not a usable model: it is {words}"):
        load_model(data, ModelId("file:///m", format=name))


@pytest.mark.parametrize("name", sorted({known.name for known in FORMATS} - {"sklearn"}))
def test_a_pickle_that_is_declared_as_something_else_is_called_a_pickle(name: str) -> None:
    with pytest.raises(ArtifactInvalid, match="it is a pickle or joblib file; declare format: sklearn"):
        load_model(PLAIN, ModelId("file:///m", format=name))


@pytest.mark.parametrize("name", sorted(known.name for known in FORMATS))
@pytest.mark.parametrize("data", [b"", b"garbage", b"{n", b"]next", bytes(64)], ids=range(5))
def test_no_format_begins_its_complaint_with_an_exception(name: str, data: bytes) -> None:
    with pytest.raises(ArtifactInvalid) as raised:
        load_model(data, ModelId("file:///m", format=name))
    problem = str(raised.value).removeprefix("file:///m is not a usable model: ")
    assert not re.match(r"\w*(Error|Exception|Invalid\w+|BadZipFile)\b|\[", problem), problem

"""Each format is one folder, and what else says something of formats says what the folders say."""

import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tools import formats as generated

import tenantry_server
from tenantry_server.formats import FORMATS
from tenantry_server.formats.descriptor import Format
from tenantry_server.formats.sklearn import reader

ROOT = Path(__file__).resolve().parents[4]
_FUNCTIONS = ("dump", "example", "skew", "written_again")
# What serves has these without a library of models: arrays, protobuf for gRPC, words for a terminal.
_LIGHT = {"numpy", "google", "rich"}

each_format = pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)


def test_what_stands_of_formats_elsewhere_is_written_from_their_folders() -> None:
    """The operator and the API server judge by suffixes, and may not import the servers."""
    for path, text in generated.written().items():
        assert path.read_text() == text, f"run make formats, which writes {path}"


def test_no_two_formats_have_a_name_or_a_suffix_in_common() -> None:
    suffixes = [suffix for known in FORMATS for suffix in known.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)
    assert len({known.name for known in FORMATS}) == len(FORMATS)


@each_format
def test_a_descriptor_says_what_its_reader_can_do(known: Format) -> None:
    assert known.reader.__name__ == f"tenantry_server.formats.{known.name}.reader"
    assert callable(known.reader.load)
    assert known.offers == {name for name in _FUNCTIONS if hasattr(known.reader, name)}


@each_format
def test_the_extra_of_a_format_is_one_of_the_distribution(known: Format) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert not known.extra or known.extra in extras, f"add {known.extra} to pyproject.toml"


@pytest.mark.parametrize(
    "imported", ["tenantry_server.formats", "tenantry_server.process", "tenantry.publishing"]
)
def test_what_serves_and_publishes_knows_every_format_without_a_library_of_one(imported: str) -> None:
    libraries = {name for known in FORMATS for name in (*known.libraries, *known.brings)} - _LIGHT
    code = f"import sys, {imported}; print(sorted(sys.modules.keys() & {libraries!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_model_that_was_pickled_when_a_format_was_one_module_is_read() -> None:
    """The class is public, and such a file names the module that it was in."""
    plain = pickle.dumps(tenantry_server.SklearnModel, protocol=0)
    old = plain.replace(b"formats.sklearn.reader\n", b"formats.sklearn\n")
    assert old != plain
    assert pickle.loads(old) is reader.SklearnModel

"""PyTorch artifacts before PyTorch sees them; with it they are tested in tests/apart."""

import io
import sys
import zipfile

import pytest

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid, FormatNotInstalled
from tenantry_server.formats import load_model


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for name in names:
            written.writestr(name, b"x")
    return buffer.getvalue()


SCRIPT = zipped("archive/data.pkl", "archive/constants.pkl", "archive/code/__torch__/net.py")
EXPORTED = zipped("archive/models/model.json", "archive/archive_format")


@pytest.mark.parametrize("data", [SCRIPT, EXPORTED, zipped("serialized_exported_program.json")])
@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_without_pytorch_the_message_says_how_to_get_it(
    data: bytes, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # where someone installed it after all
    with pytest.raises(FormatNotInstalled, match=r"pip install 'tenantry\[torch\]'"):
        load_model(data, ModelId(f"file:///m{suffix}"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["archive/data.pkl", "archive/version"], "it is what torch.save writes: weights, or a module"),
        (["archive/data/aotinductor/model/wrapper.so"], "a package of AOTInductor"),
        (["saved_model.pb"], "it is a SavedModel of TensorFlow; declare format: tensorflow"),
        (["a.txt"], "neither a TorchScript module nor an exported program"),
        (["archive/models/../../b"], "outside its folder"),
    ],
)
def test_another_archive_is_named(names: list[str], words: str) -> None:
    with pytest.raises(ArtifactInvalid, match=words):
        load_model(zipped(*names), ModelId("file:///m.pt"))

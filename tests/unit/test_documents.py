"""The documents agree with the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from tenantry.errors import TenantryError
from tenantry_operator.settings import OperatorSettings
from tenantry_server.formats import FORMATS
from tenantry_server.settings import ServerSettings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
PACKAGES = (
    "core/tenantry",
    "operator/tenantry_operator",
    "modelserver/tenantry_server",
    "cli/tenantry_cli",
    "integrations/airflow/tenantry_airflow",
)


def _page(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("settings", [ServerSettings, OperatorSettings])
def test_every_setting_is_documented_with_its_default(settings: type[BaseSettings]) -> None:
    page = _page("docs/settings.md")
    for name, field in settings.model_fields.items():
        row = rf"\| `TENANTRY_{name.upper()}` \| `?{re.escape(_shown(field.default))}`? \|"
        assert re.search(row, page), f"docs/settings.md: {name}, default {_shown(field.default)}"
        assert field.description, name


def _shown(default: object) -> str:
    if default is None:
        return "unset"
    return str(default.value) if hasattr(default, "value") else str(default)


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_reason_is_explained() -> None:
    explained = _page("docs/tenantmodel.md") + _page("docs/http-api.md")
    ours = [kind for kind in _below(TenantryError) if kind.__module__.startswith("tenantry.errors.")]
    assert len(ours) > 20
    operators_own = {  # and the publisher's: no condition and no answer carries them
        "Error",
        "ArtifactError",
        "SignatureRefused",  # its kinds are explained
        "RegistryMismatch",
        "LeadershipLost",
        "InvalidSetting",
        "NotPublished",
        "ServerIdTaken",
        "HistoryChanged",
    }
    for kind in ours:
        assert kind.reason in operators_own or f"`{kind.reason}`" in explained, kind.reason


def _below(kind: type[TenantryError]) -> list[type[TenantryError]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *_below(sub))]


def test_the_code_map_names_every_package_and_no_path_that_is_gone() -> None:
    page = _page("docs/architecture.md")
    code_map = page.partition("## Code map")[2].partition("\n## ")[0]
    named = set(re.findall(r"`((?:core|operator|modelserver|cli|integrations)/[\w/.]+)`", code_map))
    packages = {
        str(init.parent.relative_to(ROOT))
        for package in PACKAGES
        for init in (ROOT / package).rglob("__init__.py")
    }
    of_formats = {f"modelserver/tenantry_server/formats/{known.name}" for known in FORMATS}
    assert packages - named == of_formats, "one row stands for the folders of all formats"
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_decision_is_listed() -> None:
    pages = {page.name for page in (ROOT / "docs/decisions").glob("*.md")} - {"README.md"}
    listed = set(re.findall(r"\]\((.+?\.md)\)", _page("docs/decisions/README.md")))
    assert listed == pages


def test_every_format_is_listed() -> None:
    page = _page("docs/models.md")
    for known in FORMATS:
        assert f"| `{known.name}` | {' '.join(f'`{s}`' for s in known.suffixes)} |" in page


def _python_blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", _page(name), flags=re.DOTALL)


_ELSEWHERE = re.compile(r"^(from|import) (dask|pyspark)\b", re.MULTILINE)  # tests/apart/score_document.py


@pytest.mark.parametrize("name", ["README.md", "docs/models.md", "docs/client.md", "docs/scoring.md"])
def test_the_python_in_the_documents_runs(name: str, tmp_path: Path) -> None:
    """Each block in a process of its own, in an empty folder, with warnings as errors."""
    blocks = [block for block in _python_blocks(name) if not _ELSEWHERE.search(block)]
    assert blocks
    for block in blocks:
        code = block.replace('if __name__ == "__main__":', "if False:")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}:\n{block}\n{done.stderr}"


def test_the_readme_publishes_what_it_serves(tmp_path: Path) -> None:
    """The first block is the training job; what it declares is what the later examples ask."""
    subprocess.run([sys.executable, "-c", _python_blocks("README.md")[0]], cwd=tmp_path, check=True)
    assert (tmp_path / "tenants" / "store-042.yaml").exists()


def test_nothing_names_a_path_outside_the_project() -> None:
    for document in DOCUMENTS:
        assert "../shared" not in document.read_text(), document

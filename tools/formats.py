"""Write what stands of the formats outside of tenantry_server, from the descriptors there: `make formats`.

The operator and the API server decide by the suffix of an artifact, too, and may not import the servers.
"""

import re
from pathlib import Path

from tenantry_server.formats import FORMATS

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "core/tenantry/artifact_formats.py"
POLICY = ROOT / "manifests/policy/admission.yaml"
PAGE = ROOT / "docs/models.md"
_URI = "object.spec.model.uri"


def written() -> dict[Path, str]:
    """Return each file as it has to be."""
    return {
        CORE: _between(CORE, "    {\n", "    }\n", _table()),
        POLICY: _between(POLICY, "object.spec.model.format :\n", "  validations:\n", _expression()),
        PAGE: _between(PAGE, "| --- | --- | --- |\n", "\n", _rows()),
    }


def _between(path: Path, before: str, after: str, text: str) -> str:
    """Return a file with other lines between the first `before` and the next `after`."""
    found = re.search(
        rf"(?s)(?<={re.escape(before)}).*?(?=^{re.escape(after)})", path.read_text(), re.MULTILINE
    )
    if found is None:
        raise SystemExit(f"{path} has no lines between {before!r} and {after!r}; see {__file__}")
    return path.read_text()[: found.start()] + text + path.read_text()[found.end() :]


def _table() -> str:
    lines = []
    for known in FORMATS:
        comma = "," if len(known.suffixes) == 1 else ""
        suffixes = ", ".join(f'"{suffix}"' for suffix in known.suffixes)
        lines.append(f'        "{known.name}": ({suffixes}{comma}),\n')
    return "".join(lines)


def _expression() -> str:
    lines = []
    for known in FORMATS:
        names = "|".join(re.escape(suffix.removeprefix(".")) for suffix in known.suffixes)
        pattern = f"({names})" if len(known.suffixes) > 1 else names
        lines.append(f"        {_URI}.matches('(?i)[.]{pattern}$') ? '{known.name}' :")
    return "\n".join(lines) + " ''\n"


def _rows() -> str:
    return "".join(
        f"| `{known.name}` | {' '.join(f'`{suffix}`' for suffix in known.suffixes)} | {known.holds} |\n"
        for known in FORMATS
    )


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)

"""What `tenantry_server` shows, and what it imports for that."""

import subprocess
import sys

import pytest

import tenantry_server


@pytest.mark.parametrize("name", tenantry_server.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(tenantry_server, name).__name__ == name
    assert name in dir(tenantry_server)


def test_another_name_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(tenantry_server, "nothing")  # noqa: B009 - a typo, to the type checker


def test_to_look_at_the_settings_imports_no_scikit_learn() -> None:
    """`tenantry up` reads them, and would take two seconds more and the memory for nothing."""
    program = (
        "import sys; import tenantry_cli.commands.processes.up; "
        "print([name for name in ('sklearn', 'scipy', 'boto3', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

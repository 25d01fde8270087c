"""Traces of an operator where they are off."""

import subprocess
import sys


def test_where_traces_are_off_nothing_of_opentelemetry_is_imported() -> None:
    """By neither kind of operator, of a folder and of a cluster."""
    code = (
        "import sys, tenantry_operator.__main__, tenantry_operator.folder_process, "
        "tenantry_cli.commands.processes.operator\n"
        "from tenantry_operator import runtime\n"
        "from tenantry_operator.settings import OperatorSettings\n"
        "with runtime.traced(OperatorSettings.load(), writes_statuses=True) as changes:\n"
        "    assert changes._sampler is None\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'opentelemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

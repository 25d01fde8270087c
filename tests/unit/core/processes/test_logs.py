"""Lines that are written for each request: as the other lines of the process, and whatever its level."""

import json
import subprocess
import sys

SCRIPT = """
import structlog
from tenantry.processes import logs
logs.configure("error", process="server-0")
logs.quick_writer("request")({"path": "/predict/ann", "ms": 0.5, "user": None})
structlog.get_logger().info("not shown")
structlog.get_logger().error("shown", user="ann")
"""


def test_a_quick_line_is_like_any_other_and_does_not_go_by_the_level() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    quick, other = (json.loads(line) for line in done.stderr.splitlines())
    assert quick.pop("timestamp") <= other.pop("timestamp")
    assert quick == {
        "process": "server-0",
        "path": "/predict/ann",
        "ms": 0.5,
        "user": None,
        "event": "request",
        "level": "info",
    }
    assert other == {"process": "server-0", "user": "ann", "event": "shown", "level": "error"}

"""`python -m tenantry_server.sidecars PIPE`: what `sidecar.become` turns a process into.

structlog imports rich where that is installed, to colour tracebacks for a person: 3 MiB that no sidecar
needs. What stands as None in `sys.modules` is not imported; so this comes before everything else.
"""

import runpy
import sys

sys.modules["rich"] = None  # type: ignore[assignment] # as the import system documents it

if __name__ == "__main__":
    runpy.run_module("tenantry_server.sidecar", run_name="__main__", alter_sys=True)

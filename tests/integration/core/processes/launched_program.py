"""What the launcher's tests have started: tells what it is, or ends as its argument says."""

import atexit
import json
import os
import signal
import socket
import sys
from pathlib import Path


def main() -> None:
    what = sys.argv[1]
    if what == "tell":
        print(json.dumps(_told()), flush=True)
    elif what == "chance":
        from tenantry.tracing.spans import CHANCE  # noqa: PLC0415 - imported beforehand

        print(CHANCE.getrandbits(64), flush=True)
    elif what == "exit":
        sys.exit(int(sys.argv[2]))
    elif what == "end":
        atexit.register(print, "ended in order", flush=True)
    elif what == "raise":
        raise RuntimeError(sys.argv[2])
    else:
        signal.sigwait([signal.SIGUSR1])


def _told() -> dict[str, object]:
    shared = int(os.environ["SHARED"])
    with socket.socket(fileno=shared) as given:
        given.send(b"here")
    umask = os.umask(0)
    os.umask(umask)
    return {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "cwd": str(Path.cwd()),
        "modules": sys.path[0],
        "leads a session": os.getsid(0) == os.getpid(),
        "input": sys.stdin.read(),
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "umask": umask,
    }


if __name__ == "__main__":
    main()

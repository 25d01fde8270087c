"""The command that provides the test control plane: `python -m tests.support.kubernetes.envtest`.

It prints the folder of the binaries and their version, and what serves CRDs where the core is old. With
`--run` it also starts a control plane and serves it until Ctrl-C, for a look around with kubectl.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: then Python looks in this folder, not in the checkout
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.support.kubernetes.binaries import modern_assets
from tests.support.kubernetes.binaries.envtest_assets import AssetsUnavailable, provide, server_version
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.processes.child_process import ChildFailed

__all__ = ["AssetsUnavailable", "ChildFailed", "ControlPlane", "main", "provide"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="envtest", description="Provide a test control plane.")
    parser.add_argument("--run", action="store_true", help="start one and serve it until Ctrl-C")
    options = parser.parse_args(arguments)
    try:
        assets = provide()
        print(f"{assets}: kube-apiserver {server_version(assets)}", flush=True)
        plane = _newest(assets)
        if options.run:
            _serve(plane)
    except (AssetsUnavailable, ChildFailed, FileNotFoundError) as error:
        print(f"envtest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _newest(assets: Path) -> ControlPlane:
    """The control plane that knows most, here."""
    try:
        plane = modern_assets.plane(assets)
    except modern_assets.ModernUnavailable as error:
        print(f"CRDs are served by the same: {error}", flush=True)
        return ControlPlane(assets)
    print("CRDs are served by {}.{}".format(*plane.crd_version_info), flush=True)
    return plane


def _serve(plane: ControlPlane) -> None:
    ended = threading.Event()
    with plane:
        for end in (signal.SIGINT, signal.SIGTERM):
            signal.signal(end, lambda *_: ended.set())
        print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
        ended.wait()


if __name__ == "__main__":
    sys.exit(main())

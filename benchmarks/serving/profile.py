"""Where our server spends its time under the Ridge load, as py-spy sees it from outside."""

import subprocess
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.serving import races, wrk
from benchmarks.serving.environments import PeerUnavailable, provide
from benchmarks.serving.options import Options

_SECONDS = 8
_PER_S = 400
_SHOWN = 25
_AT_REST = "_worker (concurrent/futures/thread.py)"  # a pool's thread without work; py-spy thinks it busy


def profile(options: Options) -> str:
    """The functions that take most time, by themselves and with what they call.

    Raises:
        PeerUnavailable: there is no py-spy, or it may not attach (it needs root or CAP_SYS_PTRACE).
    """
    spy = provide("py-spy", "py-spy", with_scikit_learn=False) / "py-spy"
    stacks = options.folder / "stacks"
    tenants = races.ridge_tenants(options)
    with races.warm_server(tenants, options.folder / "profile") as own, ThreadPoolExecutor(1) as pool:
        wrk.run(own, 1)
        load = pool.submit(wrk.run, own, _SECONDS + 2)
        record(spy, own.pid, stacks)
        load.result()
    with stacks.open() as lines:
        alone, with_callees = counted(lines)
    return "\n\n".join(
        [
            _top("by themselves", alone, alone.total()),
            _top("with what they call", with_callees, alone.total()),
        ]
    )


def record(spy: Path, pid: int, stacks: Path) -> None:
    """Write what the process was seen doing, a stack and a count on each line."""
    argv = [str(spy), "record", "--pid", str(pid), "--format", "raw", "--output", str(stacks)]
    argv += ["--duration", str(_SECONDS), "--rate", str(_PER_S)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - py-spy
    if done.returncode:
        raise PeerUnavailable(f"py-spy: {done.stderr.strip()[-300:]}")


def counted(lines: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Samples of each function: at the top of the stack, and anywhere in it."""
    alone: Counter[str] = Counter()
    with_callees: Counter[str] = Counter()
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        # "name (file.py:12)", outermost first; lines of one function belong together.
        functions = [frame.rpartition(":")[0] + ")" for frame in stack.split(";")]
        if functions[-1] == _AT_REST:
            continue
        alone[functions[-1]] += int(samples)
        for function in set(functions):
            with_callees[function] += int(samples)
    return alone, with_callees


def _top(title: str, samples: Counter[str], whole: int) -> str:
    shown = (f"{n / whole:6.1%}  {function}" for function, n in samples.most_common(_SHOWN))
    return "\n".join([f"functions, {title}:", *shown])

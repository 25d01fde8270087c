"""Models that do their worst to the processes that run them, while their neighbours are asked."""

import os
import random
import signal
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tenantry_server.workers.child import sandbox
from tests.support.processes.shown import lives
from tests.support.processes.up import ask
from tests.support.tenants.hostile import site as sites
from tests.support.tenants.hostile.chaos import Chaos
from tests.support.tenants.hostile.models import (
    EndsOnLoad,
    HeldUp,
    Leaks,
    Misbehaves,
    Parallels,
    Pries,
    Reconfigures,
    Waits,
)
from tests.support.tenants.hostile.site import FRAME, Site
from tests.support.waiting import until

PREDICT_S = LOAD_S = 8.0  # longer than a machine stands still: neighbours have no more time
NUMBERS = FRAME.to_numpy()
NOT_HELD = sandbox.missing(sandbox.version())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    env = {
        "OMP_NUM_THREADS": "1",
        "TENANTRY_LOAD_TIMEOUT_S": str(LOAD_S),
        "TENANTRY_PREDICT_TIMEOUT_S": str(PREDICT_S),
    }
    with sites.running(tmp_path_factory.mktemp("workers"), servers=3, env=env) as site:
        yield site


@pytest.fixture
def front_pids(site: Site) -> Iterator[dict[str, int]]:
    """The servers, which are the same afterwards: no model ended one of them."""
    before = dict(site.up.pids)
    yield before
    assert site.up.pids == before


def publish(site: Site, user_id: str, model: Any) -> None:
    site.publish(user_id, model)
    site.up.until_settled(user_id, "Ready")


def _workers(site: Site) -> dict[str, Any]:
    """Of the first server, as it describes them."""
    (url, *_) = site.up.servers()
    found: dict[str, Any] = ask(urllib.request.Request(f"{url}/workers")).body
    return found


@pytest.mark.usefixtures("front_pids")
@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("exit", "exit status 9"),
        ("segfault", "signal SIGSEGV"),
        ("abort", "signal SIGABRT"),
        ("close_descriptors", "exit status 0"),
    ],
)
def test_a_request_that_ends_its_process_is_answered_and_goes_no_further(
    site: Site, what: str, how: str
) -> None:
    """All three servers died within 0.4 s: a broken connection was a reason to ask the next."""
    user_id = f"ends-{what}"
    publish(site, user_id, Misbehaves())
    before = site.metric('workers_ended_total{cause="ended"}')
    with site.neighbours() as seen:
        reply = site.up.predict(user_id, [{"do": what}])
        assert (reply.status, reply.reason) == (500, "ModelCrashed")
        assert how in reply.body["error"]["message"]
        assert site.up.predict(user_id, [{"do": "nothing"}]).body == [7.0]
    assert set(seen) == {"right"}
    assert site.metric('workers_ended_total{cause="ended"}') == before + 1


def _is_left_alone(site: Site, url: str) -> bool:
    reply = site.up.predict("again", [{"do": "nothing"}], url)
    return reply.status != 200 and reply.reason == "ModelQuarantined"


@pytest.mark.usefixtures("front_pids")
def test_a_model_that_ends_its_process_again_and_again_is_left_alone(site: Site) -> None:
    publish(site, "again", Misbehaves())
    (url, *_) = site.up.servers()
    reasons = []
    with site.neighbours() as seen:
        for _ in range(4):
            reply = site.up.predict("again", [{"do": "exit"}], url)
            reasons.append(reply.reason)
        assert reasons == ["ModelCrashed"] * 3 + ["ModelQuarantined"]
        assert reply.status == 503
        assert 0 < int(reply.headers["Retry-After"]) <= 30
        assert "exit status 9" in reply.body["error"]["message"]
        for other in site.up.servers():
            until(partial(_is_left_alone, site, other), "all servers know")
    assert set(seen) == {"right"}


@pytest.mark.usefixtures("front_pids")
@pytest.mark.parametrize(("status", "how"), [(7, "exit status 7"), (None, "signal SIGSEGV")])
def test_an_artifact_whose_load_ends_the_process_says_so(site: Site, status: int | None, how: str) -> None:
    """Servers died 15 times in two minutes, and its status went on saying Loading."""
    user_id = f"ends-on-load-{status}".lower()
    with site.neighbours() as seen:
        site.publish(user_id, EndsOnLoad(status))
        told = site.up.until_settled(user_id, "ModelCrashed")
        assert how in told["message"]
        publish(site, f"after-{user_id}", make_pipeline(StandardScaler(), Ridge()).fit(FRAME, FRAME["x"]))
    assert set(seen) == {"right"}


@pytest.mark.usefixtures("front_pids")
def test_a_version_that_ends_its_process_does_not_replace_one_that_works(site: Site) -> None:
    publish(site, "good", make_pipeline(StandardScaler(), Ridge()).fit(FRAME, FRAME["x"]))
    expected = site.up.predict("good", sites.ROW).body
    site.publish("good", EndsOnLoad(7))
    site.up.until_settled("good", "ModelCrashed")
    assert site.up.predict("good", sites.ROW).body == expected


def backtracks() -> Any:
    """Return a text model of known libraries only, with a pattern that takes forever on some texts."""
    pattern = r"((?:a+)+)$"
    words = ColumnTransformer([("text", CountVectorizer(token_pattern=pattern), "text")])
    return make_pipeline(words, Ridge()).fit(pd.DataFrame({"text": ["aa", "aaa"]}), [1.0, 2.0])


def loops() -> Any:
    """Return an ONNX model that goes round as often as its first column says."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Add", ["value", "one"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["rows"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["rounds"], to=TensorProto.INT64),
            helper.make_node("Loop", ["rounds", "yes", "rows"], ["answer"], body=body),
        ],
        "loops",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("yes", TensorProto.BOOL, [], [True])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def waits() -> Any:
    return Waits().fit(NUMBERS, None)


@pytest.mark.usefixtures("front_pids")
@pytest.mark.parametrize(
    ("user_id", "model", "quick", "endless"),
    [
        ("backtracks", backtracks, [{"text": "aa"}], [{"text": "a" * 60 + "b"}]),
        ("onnx-loops", loops, {"instances": [[3.0]]}, {"instances": [[1e18]]}),
        ("waits", waits, {"instances": [[0.0, 0.0]]}, {"instances": [[600.0, 0.0]]}),
    ],
)
def test_a_prediction_that_never_returns_is_ended(
    site: Site, user_id: str, model: Any, quick: Any, endless: Any
) -> None:
    """It held the interpreter, and two servers answered nobody for half a minute."""
    publish(site, user_id, model())
    first = site.up.predict(user_id, quick)
    assert first.status == 200, first.body
    statuses: Counter[int] = Counter()

    def ask_for(url: str) -> None:
        statuses[site.up.predict(user_id, endless, url).status] += 1

    with site.neighbours() as seen:
        asking = [threading.Thread(target=ask_for, args=(url,)) for url in site.up.servers()]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert set(statuses) == {504}
        until(lambda: site.up.predict(user_id, quick).body == first.body, "the model answers again")
    assert set(seen) == {"right"}


@pytest.mark.usefixtures("front_pids")
def test_predictions_that_never_return_stop_no_other_model(site: Site) -> None:
    """Eight of them, and every model that is not quick answered 504 from then on."""
    users = [f"never-{number}" for number in range(10)]
    for user_id in users:
        site.publish(user_id, waits())
    for user_id in users:
        site.up.until_settled(user_id, "Ready")
    statuses: Counter[str] = Counter()

    def ask_for(user_id: str) -> None:
        reply = site.up.predict(user_id, {"instances": [[600.0, 0.0]]}, site.up.servers()[0])
        statuses[reply.reason if reply.status != 200 else "answered"] += 1

    asking = [threading.Thread(target=ask_for, args=(user_id,)) for user_id in users]
    with site.neighbours() as seen:
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert set(statuses) <= {"PredictionTimeout", "ModelLoading", "ModelMoving"}
    assert statuses["PredictionTimeout"] >= len(users) // 2
    assert set(seen) == {"right"}


@pytest.mark.usefixtures("front_pids")
def test_artifacts_whose_load_never_returns_stop_no_other_version(site: Site) -> None:
    """Two of them kept a server from loading any new version of anybody."""
    held = [HeldUp(Misbehaves(), site.shared) for _ in range(12)]
    for number, model in enumerate(held):
        site.publish(f"held-{number}", model)
    with site.neighbours() as seen:
        for number in range(len(held)):
            status = site.up.until_settled(f"held-{number}", "ModelTimedOut")
            assert f"did not end within {LOAD_S:g} s (in " in status["message"]
            assert "_once_allowed, " in status["message"]
        publish(site, "after", make_pipeline(StandardScaler(), Ridge()).fit(FRAME, FRAME["x"]))
    assert set(seen) == {"right"}


@pytest.mark.usefixtures("front_pids")
@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("sys_exit", 500),
        ("raise", 500),
        ("recurse", 500),
        ("fork", 200),
        ("fork_and_return", 200),
        ("start_threads", 200),
        ("change_everything", 200),
        ("flood", 200),
        ("scribble", None),
        ("kill_parent", None),
    ],
)
def test_what_a_model_does_to_its_process_stays_there(site: Site, what: str, status: int | None) -> None:
    """Status None: it depends on what it hit."""
    user_id = f"does-{what.replace('_', '-')}"
    publish(site, user_id, Misbehaves())
    with site.neighbours() as seen:
        reply = site.up.predict(user_id, [{"do": what}])
        assert status is None or reply.status == status, reply.body
        until(lambda: site.up.predict(user_id, [{"do": "nothing"}]).body == [7.0], "it answers")
    assert set(seen) == {"right"}


@pytest.mark.skipif(bool(NOT_HELD), reason=NOT_HELD)
@pytest.mark.usefixtures("front_pids")
def test_a_model_reaches_no_file_no_server_and_no_other_process(site: Site) -> None:
    publish(site, "pries", Pries())
    front, port = site.up.pids["server-0"], urlsplit(site.up.servers()[0]).port
    mine = site.folder / "a-secret"
    mine.write_text("of somebody else")
    refused = [
        ("read", f"/proc/{front}/environ"),
        ("read", f"/proc/{front}/cmdline"),
        ("read", str(site.up.state / "registry.db")),
        ("read", str(mine)),
        ("write", str(mine)),
        ("write", str(site.folder / "a-new-file")),
        ("look_around", str(site.folder)),
        ("look_around", tempfile.gettempdir()),
        ("look_around", str(Path.home())),
        ("connect", str(port)),
        ("listen", ""),
        ("signal", str(front)),
        ("signal", str(_workers(site)["zygote"])),
    ]
    possible = [
        ("keep_for_a_while", ""),
        ("write", "/dev/null"),
        ("read", "/proc/self/status"),
        ("read", pytest.__file__),
        ("import", "sklearn.manifold"),
        ("run", "/bin/true"),
    ]
    (url, *_) = site.up.servers()
    for tried, wanted in ((refused, 0.0), (possible, 1.0)):
        for what, where in tried:
            reply = site.up.predict("pries", [{"what": what, "where": where}], url)
            assert reply.body == [wanted], (what, where, reply.body)


@pytest.mark.usefixtures("front_pids")
def test_settings_that_a_model_leaves_behind_are_put_back(site: Site) -> None:
    """A neighbour's pipeline answered 422 to every request from then on."""
    publish(site, "settings", Reconfigures().fit(NUMBERS, None))
    with site.neighbours() as seen:
        for url in site.up.servers() * 20:
            reply = site.up.predict("settings", {"instances": [[1.0, 2.0]]}, url)
            assert reply.body == {"predictions": [1.0]}
    assert set(seen) == {"right"}


@pytest.mark.usefixtures("front_pids")
def test_a_model_that_keeps_memory_is_loaded_again(site: Site) -> None:
    """It was measured when it was loaded, and never again."""
    publish(site, "leaks", Leaks())
    (url, *_) = site.up.servers()

    def largest_mib() -> int:
        workers = ask(urllib.request.Request(f"{url}/workers")).body["workers"]
        return max(int(worker["residentBytes"]) for worker in workers) >> 20

    most_mib = 140 + 400  # of libraries, and half of what is kept
    with site.neighbours() as seen:
        for number in range(200):
            assert site.up.predict("leaks", [{"x": number}], url).body == [number]
            if number % 20 == 0 and largest_mib() > most_mib - 20 * 4:
                # It is weighed every two seconds, where it is idle then.
                until(lambda: largest_mib() < most_mib / 2, "the model is loaded again")
        assert largest_mib() < most_mib
    assert set(seen) == {"right"}


def test_a_model_starts_no_pool_of_processes(site: Site) -> None:
    """Each was 172 MB for every core, and alive after the server had stopped."""
    publish(site, "parallel", Parallels().fit(NUMBERS, None))
    for url in site.up.servers():
        reply = site.up.predict("parallel", {"instances": [[1.0, 2.0]]}, url)
        assert reply.body == {"predictions": [2.0]}, "one process for all jobs"


def test_what_a_model_prints_reaches_the_log_with_its_name(site: Site) -> None:
    publish(site, "prints", Misbehaves())
    for stream in ("output", "error"):

        def printed(words: str = f"a word to standard {stream}") -> bool:
            site.up.predict("prints", [{"do": "print"}])  # again, as another model's flood may drown it
            lines = [line for line in site.up.log if line.get("text") == words]
            return any("prints" in line["model"] for line in lines)

        until(printed, f"standard {stream} is in the log")
    flooded = [line for line in site.up.log if line.get("text", "").startswith("xxx")]
    assert sum(len(line["text"]) for line in flooded) < 200_000, "of 4 MB that a model printed above"


@pytest.mark.usefixtures("front_pids")
def test_chaos_of_one_tenant_is_nobody_elses(site: Site) -> None:
    """Twenty seconds of it here; `make soak-hostile` takes ten minutes."""
    seed = int(os.environ.get("TENANTRY_TEST_SEED") or random.randrange(2**32))  # noqa: S311 - no secret
    print(f"    replay with TENANTRY_TEST_SEED={seed}")
    chaos = Chaos(site, seed)
    chaos.publish()
    ends_s = time.monotonic() + float(os.environ.get("TENANTRY_SOAK_S", "20"))

    def act() -> None:
        while time.monotonic() < ends_s:
            chaos.act()

    hostile = [threading.Thread(target=act) for _ in range(3)]
    with site.neighbours() as seen:
        for thread in hostile:
            thread.start()
        for thread in hostile:
            thread.join()
    assert set(seen) == {"right"}


def _tree(pid: int) -> set[int]:
    """Return a process and all that descend from it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # the thread has just ended
            for child in (task / "children").read_text().split():
                found |= _tree(int(child))
    return found


def test_servers_load_no_library_that_runs_models(site: Site) -> None:
    """All kinds of models were loaded and asked above; what a process has loaded, its memory map names."""
    for name, pid in site.up.pids.items():
        if name.startswith("server"):
            mapped = Path(f"/proc/{pid}/maps").read_text()
            for library in ("sklearn", "scipy", "pandas", "onnxruntime", "xgboost", "lightgbm"):
                assert f"/{library}/" not in mapped, (name, library)


def _gone(*pids: int) -> bool:
    return not any(map(lives, pids))


@pytest.mark.usefixtures("front_pids")
def test_the_end_of_the_process_that_makes_workers_fails_no_request(site: Site) -> None:
    before = site.worker_pids()
    with site.neighbours() as seen:
        for pids in before.values():
            os.kill(pids[0], signal.SIGKILL)
            until(partial(_gone, pids[0]), "it ends")
    assert set(seen) == {"right"}
    publish(site, "after-it", Misbehaves())  # in a worker that another one made
    for url, pids in site.worker_pids().items():
        assert pids[0] not in before[url]
        assert set(pids) & set(before[url]), "workers went on"


@pytest.mark.usefixtures("front_pids")
def test_the_end_of_a_worker_fails_no_more_than_what_it_computed(site: Site) -> None:
    """Others that live in it are loaded again, and those that waited for it are asked elsewhere."""
    with site.neighbours() as seen:
        for url in site.up.servers():
            workers = ask(urllib.request.Request(f"{url}/workers")).body["workers"]
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker["pid"], signal.SIGKILL)
    wrong = {answer: count for answer, count in seen.items() if answer != "right"}
    assert all("ModelCrashed" in answer for answer in wrong), wrong
    assert sum(wrong.values()) <= len(site.up.servers())


def test_no_process_outlives_its_server(site: Site) -> None:
    before = dict(site.up.pids)
    name = next(name for name in before if name.startswith("server"))
    zygote = site.up.get("server", name)["zygote"]  # a child of the fork server, not of its front
    family = {before[name], *_tree(zygote)}
    assert len(family) >= 2

    def hang() -> None:
        with suppress(OSError):  # its server is killed meanwhile
            site.up.predict("waits", {"instances": [[600.0, 0.0]]})

    hanging = threading.Thread(target=hang)
    hanging.start()
    os.kill(before[name], signal.SIGKILL)
    until(partial(_gone, *family), "none is left")
    hanging.join()
    until(lambda: site.up.pids[name] != before[name] and site.up.all_reachable(), "it is back")


def test_the_command_shows_the_workers_of_a_server(site: Site) -> None:
    def printed() -> list[str]:
        site.up.predict("waits", {"instances": [[0.0, 0.0]]})  # it stays in a worker
        names = [server["serverId"] for server in site.up.get("servers")]
        shown = (
            site.up.tenantry("get", "server", name, "--registry", site.up.registry_url) for name in names
        )
        return [each.stdout for each in shown if "keeps models" in each.stdout]

    until(printed, "a worker with a model is shown")
    other = site.up.tenantry("get", "server", "nobody", "--registry", site.up.registry_url)
    assert other.returncode == 1
    assert "live servers: server-0, server-1, server-2" in other.stderr

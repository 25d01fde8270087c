"""A table scored by a running fleet: with the command, and with Ray in an environment of its own."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from tenantry_server import publish
from tests.support.environments import CHECKOUT, with_our_sources, with_ray
from tests.support.processes import up


@pytest.mark.timeout(1800)
def test_the_command_and_ray_score_the_same_table(tmp_path: Path) -> None:
    """Thirty users on two servers; both find all live ones, and answer what the models do."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(3000, 2))
    users = [f"{number % 30:04}" for number in range(3000)]
    models = {user: Ridge().fit(rows, rows @ rng.normal(size=2)) for user in sorted(set(users))}
    for user, model in models.items():
        publish(model, user_id=user, to=tmp_path / "models", manifests=tmp_path / "tenants", check=False)
    table = pd.DataFrame({"store": users, "x0": rows[:, 0], "x1": rows[:, 1]})
    table.to_parquet(tmp_path / "sales.parquet", index=False)
    wanted = [models[user].predict([row])[0] for user, row in zip(users, rows, strict=True)]
    python = with_ray()
    with up.running(tmp_path / "tenants", tmp_path / "state", servers=2) as fleet:
        fleet.until_ready(30)
        names = ["--user-column", "store"]
        done = up.tenantry(
            *("score", str(tmp_path / "sales.parquet"), "--out", str(tmp_path / "out.parquet")),
            *(*names, "--registry", fleet.registry_url, "--rows-per-request", "700"),
        )
        assert done.returncode == 0, done.stderr
        ray = subprocess.run(
            [
                *(str(python), "-m", "examples.ray.score", str(tmp_path / "sales.parquet")),
                *(str(tmp_path / "scored"), "--url", fleet.url, *names),
            ],
            cwd=CHECKOUT,
            env=with_our_sources()
            | {"RAY_TMPDIR": "/tmp", "RAY_raylet_start_wait_time_s": "300", "HOME": os.environ["HOME"]},  # noqa: S108 - sockets have short names
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
    assert ray.returncode == 0, ray.stdout + ray.stderr
    assert "3,000 rows scored, 0 of them without a prediction" in ray.stdout
    for scored in (pd.read_parquet(tmp_path / "out.parquet"), pd.read_parquet(tmp_path / "scored")):
        assert scored["store"].tolist() == users
        np.testing.assert_allclose(scored["prediction"], wanted, rtol=1e-9)

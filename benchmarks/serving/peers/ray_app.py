"""A model for each user with Ray Serve's multiplexing: one replica, in an environment of its own.

Usage: ray_app.py FOLDER PORT TEMPORARY; FOLDER holds MODEL_ID.joblib. Serves until SIGTERM.
"""

# Not checked: what it imports is in its own environment only.
# mypy: ignore-errors

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Predictor:
    """Loads what the header serve_multiplexed_model_id names, and keeps it."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    @serve.multiplexed(max_num_models_per_replica=1000)
    async def get_model(self, model_id: str) -> Any:
        """From the folder; Ray keeps it in memory."""
        return joblib.load(self._folder / f"{model_id}.joblib")

    async def __call__(self, request: Request) -> list[float]:
        """The predictions for a list of records."""
        model = await self.get_model(serve.get_multiplexed_model_id())
        predictions: list[float] = model.predict(pd.DataFrame(await request.json())).tolist()
        return predictions


def main() -> None:
    """Serve; one logical CPU more than the replica takes, whatever the machine has."""
    folder, port, temporary = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=temporary, object_store_memory=100 << 20)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
        serve.run(Predictor.bind(folder))
        print("serving", flush=True)
        stop.wait()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()

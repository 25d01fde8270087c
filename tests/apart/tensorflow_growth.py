"""`python -m tests.apart.tensorflow_growth FILE…`: what a server that loads each of them takes."""

import gc
import json
import sys
from pathlib import Path

import numpy as np

from tenantry import Model, ModelId
from tenantry_server.formats import load_model
from tenantry_server.memory.model_size import size_bytes

_WARM_UP = 4  # the first ones also fill pools that stay
_COUNT = 5


def main(path: Path) -> dict[str, int]:
    """Bytes that a model says, that each adds while kept, and that each leaves behind when dropped."""
    data = path.read_bytes()

    def used() -> Model:
        model = load_model(data, ModelId(path.as_uri()))
        model.predict_rows(np.zeros((1, model.feature_count or 1)))
        return model

    kept = [used() for _ in range(_WARM_UP)]
    before = _private_bytes()
    kept += [used() for _ in range(_COUNT)]
    kept_bytes = (_private_bytes() - before) // _COUNT
    said_bytes = size_bytes(kept[0])
    kept.clear()
    before = _private_bytes()
    for _ in range(_COUNT):
        used()
    left_bytes = (_private_bytes() - before) // _COUNT
    import tensorflow as tf  # noqa: PLC0415 - not before our own code has imported it

    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return {"said": said_bytes, "kept": kept_bytes, "left": left_bytes, "threads": threads}


def _private_bytes() -> int:
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    print(json.dumps([main(Path(each)) for each in sys.argv[1:]]))

"""The serving process imports no library that reads or runs models."""

import subprocess
import sys

_HEAVY = (
    "alembic",
    "sklearn",
    "joblib",
    "scipy",
    "pandas",
    "treelite",
    "skops",
    "onnxruntime",
    "xgboost",
    "lightgbm",
    "pyarrow",
    "model_signing",
    "sigstore",
    "OpenSSL",
)


def test_what_a_server_imports() -> None:
    code = (
        "import sys, tenantry_server.__main__, tenantry_server.assignments.kubernetes_wakeups, "
        "tenantry_cli.commands.serve; "
        f"print([name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

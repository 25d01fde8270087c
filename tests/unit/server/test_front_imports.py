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
    "opentelemetry",
)


def test_what_a_server_imports() -> None:
    code = (
        "import sys, tenantry_server.__main__, tenantry_server.assignments.kubernetes_wakeups, "
        "tenantry_cli.commands.processes.serve; "
        f"print([name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_sidecar_has_neither_sql_nor_a_library_of_settings_in_memory() -> None:
    left_out = (
        *_HEAVY,
        "sqlalchemy",
        "pydantic",
        "pydantic_settings",
        "boto3",
        "kubernetes",
        "jwt",
        "grpc",
        "rich",
        "pygments",
    )
    code = (
        "import sys, tenantry_server.sidecars.__main__, tenantry_server.sidecar; "
        f"print([name for name in {left_out!r} if sys.modules.get(name)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

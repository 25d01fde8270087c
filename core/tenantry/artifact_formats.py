"""The formats of artifacts, and the suffixes that stand for them.

The operator judges by them what a namespace may declare, and the `ValidatingAdmissionPolicy` in
manifests/policy says the same in CEL. Both are written by `make formats`, from what each format's folder in
`tenantry_server.formats` states, and a test compares them.
"""

from collections.abc import Mapping
from types import MappingProxyType

SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sklearn": (".joblib", ".pkl", ".pickle"),
        "skops": (".skops",),
        "onnx": (".onnx",),
        "xgboost": (".ubj", ".json"),
        "lightgbm": (".txt",),
        "catboost": (".cbm",),
        "python": (".toml",),
        "tensorflow": (".keras", ".zip"),
        "torch": (".pt", ".pt2"),
        "mlflow": (".mlflow",),
    }
)
"""Of a format, the suffixes of artifacts that need no explicit one; the first is what is published."""

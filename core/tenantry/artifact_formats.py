"""The formats of artifacts, and the suffixes that stand for them.

The servers read them, and the operator judges by them what a namespace may declare. The
`ValidatingAdmissionPolicy` in manifests/policy says the same in CEL, which a test compares.
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

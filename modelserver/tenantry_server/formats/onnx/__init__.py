"""ONNX graphs that take a table."""

from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="onnx",
    suffixes=(".onnx",),
    holds="an ONNX graph that takes a table",
    kind="an ONNX model",
    extra="onnx",
    rank=2,
    offers=frozenset({"dump"}),
    heavy=True,
    libraries={"onnxruntime": "onnxruntime"},
    brings=frozenset({"google", "onnx"}),
)

"""The messages of the Open Inference Protocol, by the numbers that its published schema gives their fields.

The classes live in a pool of their own: a program may have those of another library beside them.

Source: open-inference-protocol, specification/protocol/open_inference_grpc.proto; the stream and the
repository calls are Triton's and KServe's (grpc_service.proto, grpc_predict_v2.proto).
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"

_PACKAGE = "inference"
_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}
_MODEL = "name=1 string, version=2 string"
_TENSOR = "name=1 string, datatype=2 string, shape=3 *int64"
_PARAMETERS = "*InferParameter"

# `*` before a type: repeated. `|` before a name: one of several. A map: from string to the type behind `*`.
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live=1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready=1 bool",
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": "ready=1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name=1 string, version=2 string, extensions=3 *string",
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse": "name=1 string, versions=2 *string, platform=3 string, "
    "inputs=4 *ModelMetadataResponse.TensorMetadata, outputs=5 *ModelMetadataResponse.TensorMetadata",
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": "|bool_param=1 bool, |int64_param=2 int64, |string_param=3 string, "
    "|double_param=4 double, |uint64_param=5 uint64",
    "InferTensorContents": "bool_contents=1 *bool, int_contents=2 *int32, int64_contents=3 *int64, "
    "uint_contents=4 *uint32, uint64_contents=5 *uint64, fp32_contents=6 *float, "
    "fp64_contents=7 *double, bytes_contents=8 *bytes",
    "ModelInferRequest": "model_name=1 string, model_version=2 string, id=3 string, "
    "parameters=4 {InferParameter}, inputs=5 *ModelInferRequest.InferInputTensor, "
    "outputs=6 *ModelInferRequest.InferRequestedOutputTensor, raw_input_contents=7 *bytes",
    "ModelInferRequest.InferInputTensor": f"{_TENSOR}, parameters=4 {{InferParameter}}, "
    "contents=5 InferTensorContents",
    "ModelInferRequest.InferRequestedOutputTensor": "name=1 string, parameters=2 {InferParameter}",
    "ModelInferResponse": "model_name=1 string, model_version=2 string, id=3 string, "
    "parameters=4 {InferParameter}, outputs=5 *ModelInferResponse.InferOutputTensor, "
    "raw_output_contents=6 *bytes",
    "ModelInferResponse.InferOutputTensor": f"{_TENSOR}, parameters=4 {{InferParameter}}, "
    "contents=5 InferTensorContents",
    "ModelStreamInferResponse": "error_message=1 string, infer_response=2 ModelInferResponse",
    "RepositoryIndexRequest": "repository_name=1 string, ready=2 bool",
    "RepositoryIndexResponse": "models=1 *RepositoryIndexResponse.ModelIndex",
    "RepositoryIndexResponse.ModelIndex": "name=1 string, version=2 string, state=3 string, "
    "reason=4 string",
    "RepositoryModelLoadRequest": "repository_name=1 string, model_name=2 string",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "repository_name=1 string, model_name=2 string",
    "RepositoryModelUnloadResponse": "",
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="tenantry/open_inference.proto", package=_PACKAGE, syntax="proto3"
    )
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for path, fields in _MESSAGES.items():
        parent, _, name = path.rpartition(".")
        message = made[parent].nested_type.add(name=name) if parent else file.message_type.add(name=name)
        made[path] = message
        for text in filter(None, fields.split(", ")):
            _add(message, path, text)
    return file


def _add(message: descriptor_pb2.DescriptorProto, path: str, text: str) -> None:
    """Add one field, as `_MESSAGES` writes it."""
    name, _, rest = text.partition("=")
    number, _, kind = rest.partition(" ")
    field = message.field.add(name=name.lstrip("|"), number=int(number), label=_FIELD.LABEL_OPTIONAL)
    if name.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind.startswith("{"):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
        _set_type(entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL), kind.strip("{}"))
        kind = f"*{path}.{entry.name}"
    if kind.startswith("*"):
        field.label = _FIELD.LABEL_REPEATED
    _set_type(field, kind.lstrip("*"))


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return {
        path: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{path}"))
        for path in _MESSAGES
    }


_CLASSES = _classes()


def message(name: str) -> Any:
    r"""Return the class of a message.

    Example:
        >>> message("ServerLiveResponse")(live=True).SerializeToString()
        b'\x08\x01'
    """
    return _CLASSES[name]

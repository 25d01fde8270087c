"""What a Keras model or a SavedModel computes, traced as a function; refuses models that don't take rows.

Nothing here imports TensorFlow before it is asked to: its callers hold a TensorFlow model already.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Growth of the process for each operation of the graph: fully connected networks of 3, 13 and 31 layers
# took 13 to 17 KB for each as Keras models. As SavedModels they took 90 to 97 KB, having several functions
# for one, and their weights stayed twice.
_KERAS_OPERATION_BYTES = 16_000
_SAVED_OPERATION_BYTES = 95_000
_SAVED_BASE_BYTES = 450_000
_SAVED_WEIGHTS_COPIES = 2


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor that a model takes.

    Attributes:
        name: as the model calls it.
        dtype: a tf.DType.
        shape: of one row, without the rows' own dimension; -1 where it is free.
    """

    name: str
    dtype: Any
    shape: tuple[int, ...]

    @property
    def columns(self) -> int | None:
        """How many values a row has for it; None: any number."""
        return None if -1 in self.shape else math.prod(self.shape)

    @property
    def is_text(self) -> bool:
        """Whether it takes strings and not numbers."""
        return bool(self.dtype.name == "string")


@dataclass(frozen=True, slots=True)
class Graph:
    """A traced function.

    Attributes:
        inputs: in the order of `run`'s tensors.
        run: gives the output tensor for one tensor of each input.
        size_bytes: what it adds to the process, weights included.
        owner: of the variables, to which the function refers only weakly.
    """

    inputs: tuple[Input, ...]
    run: Callable[[Sequence[Any]], Any]
    size_bytes: int
    owner: Any


def of_keras(model: Any) -> Graph:
    """Trace a Keras model once, for any number of rows.

    Calling a traced function takes 0.4 ms where `model.predict` takes 40 and `model(x)` takes 9.

    Raises:
        ValueError: its inputs are unknown, or it does not map rows to predictions.
    """
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    if not getattr(model, "inputs", None):
        kind = type(model).__name__
        raise ValueError(f"the inputs of this {kind} are unknown; give it an Input, or model.export() it")
    specs = [tf.TensorSpec(each.shape, each.dtype, name=each.name) for each in model.inputs]
    inputs = _inputs([(spec.name, spec) for spec in specs])
    structure = None if len(inputs) == 1 else model.input  # a Sequential has no `input`

    def call(*tensors: Any) -> Any:
        given = tensors[0] if len(inputs) == 1 else keras.tree.pack_sequence_as(structure, list(tensors))
        return model(given, training=False)

    traced = tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
    _only(tf.nest.flatten(traced.structured_outputs))
    operations = len(traced.graph.get_operations())
    size_bytes = _weights_bytes(traced.variables) + operations * _KERAS_OPERATION_BYTES
    # Without the model's own objects a small one takes 350 KB and not 500; what it captured beside
    # variables, such as lookup tables, may belong to them.
    plain = len(traced.captured_inputs) == len(traced.variables)
    owner = traced.variables if plain else model
    return Graph(inputs, lambda tensors: tf.nest.flatten(traced(*tensors))[0], size_bytes, owner)


def of_saved_model(loaded: Any) -> Graph:
    """Take the signature of a loaded SavedModel.

    Raises:
        ValueError: there is no `serving_default` nor a single other one, or it takes or gives what
            isn't rows.
    """
    signatures = loaded.signatures
    names = sorted(signatures)
    if "serving_default" not in names and len(names) != 1:
        listed = ", ".join(names) or "none"
        raise ValueError(f"it needs a signature 'serving_default', or a single one; it has {listed}")
    signature = signatures["serving_default" if "serving_default" in names else names[0]]
    specs = signature.structured_input_signature[1]
    inputs = _inputs(list(specs.items()))
    output = _only(sorted(signature.structured_outputs))
    functions = signature.graph.as_graph_def().library.function
    operations = sum(len(function.node_def) for function in functions)

    def run(tensors: Sequence[Any]) -> Any:
        return signature(**dict(zip(specs, tensors, strict=True)))[output]

    graph_bytes = _SAVED_BASE_BYTES + operations * _SAVED_OPERATION_BYTES
    weights_bytes = _SAVED_WEIGHTS_COPIES * _weights_bytes(signature.variables)
    return Graph(inputs, run, graph_bytes + weights_bytes, loaded)


def _inputs(specs: Sequence[tuple[str, Any]]) -> tuple[Input, ...]:
    inputs = []
    for name, spec in specs:
        if spec.shape.rank in {None, 0}:
            raise ValueError(f"its input {name!r} has shape {spec.shape}; it must take rows")
        rows, *shape = spec.shape.as_list()
        if rows is not None:
            raise ValueError(f"its input {name!r} takes {rows} rows at a time; leave their number free")
        one = Input(name, spec.dtype, tuple(-1 if size is None else size for size in shape))
        if one.columns is None and len(shape) > 1:
            raise ValueError(f"its input {name!r} has shape {spec.shape}; only its rows may be free")
        inputs.append(one)
    if not inputs:
        raise ValueError("it takes no input")
    for one in inputs:
        if one.columns != 1 and (len(inputs) > 1 or one.is_text):
            raise ValueError(
                f"its input {one.name!r} takes {one.columns} values; where there are several inputs, or "
                "text, each must take one column"
            )
    return tuple(inputs)


def _only(outputs: Sequence[Any]) -> Any:
    if len(outputs) != 1:
        names = ", ".join(str(getattr(each, "name", each)) for each in outputs)
        raise ValueError(f"it has {len(outputs)} outputs ({names}); save one with the output to serve")
    return outputs[0]


def _weights_bytes(variables: Sequence[Any]) -> int:
    return sum((each.shape.num_elements() or 0) * each.dtype.size for each in variables)

"""What a PyTorch program takes and gives, read off an exported program or tried on a TorchScript module.

An exported program states the shape and type of each input. A TorchScript module states the names of its
inputs and no more, so a few rows of zeros are tried on it. Nothing here imports PyTorch before it is asked
to: its callers hold a program already.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

_MOST_PRODUCTS = 4  # inputs of which every combination of types is tried: 4 ** 4 small calls
_MOST_SIZES = 64  # of weights, that the number of columns is looked for among
_ANY = -1  # a dimension that is free
_AS_TENSOR = "return a tensor, or a tuple of the label and the probabilities"


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor that a program takes.

    Attributes:
        name: as the program calls it.
        dtype: a type of NumPy.
        shape: of one row; empty: a vector with a number for each row; -1 where it is free.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def columns(self) -> int | None:
        """How many columns of a table it takes; None: any number."""
        return None if _ANY in self.shape else math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Graph:
    """A program from tensors to tensors.

    Attributes:
        inputs: in the order of its arguments.
        call: gives whatever the program returns.
        outputs: how many tensors that is.
        one_by_one: it takes exactly one row.
        weights_bytes: of its parameters, buffers and constants.
    """

    inputs: tuple[Input, ...]
    call: Callable[[Sequence[Any]], Any]
    outputs: int
    one_by_one: bool
    weights_bytes: int


def of_export(program: Any) -> Graph:
    """Read a `torch.export.ExportedProgram`.

    Raises:
        ValueError: an input is not rows of numbers, or the number of rows is fixed.
    """
    given = [node for node in program.graph.nodes if node.op == "placeholder"]
    values: dict[str, Any] = {node.name: node.meta.get("val") for node in given}
    names = program.graph_signature.user_inputs
    inputs, fixed = [], set()
    for name in names:
        value: Any = values.get(name)
        if not hasattr(value, "dtype") or not value.ndim:
            raise ValueError(f"its input {name!r} is not a tensor of rows; export it with one matrix")
        rows, *rest = (size if isinstance(size, int) else _ANY for size in value.shape)
        if rows not in (_ANY, 1):
            raise ValueError(
                f"its input {name!r} takes exactly {rows} rows; export it with "
                'dynamic_shapes={0: torch.export.Dim("rows")} for each input'
            )
        fixed.add(rows)
        inputs.append(Input(str(name), _numpys(value.dtype), tuple(rest)))
    _refuse_what_is_no_table(inputs)
    module = program.module()
    example = program.example_inputs
    by_position = len(inputs) if example is None else len(example[0])
    by_name = () if example is None else tuple(example[1])

    def call(tensors: Sequence[Any]) -> Any:
        named = dict(zip(by_name, tensors[by_position:], strict=True))
        return module(*tensors[:by_position], **named)

    held = [*program.state_dict.values(), *program.constants.values()]
    outputs = len(program.graph_signature.user_outputs)
    return Graph(tuple(inputs), call, outputs, 1 in fixed, _bytes_of(held))


def of_script(module: Any, columns: Sequence[str] | None, count: int | None) -> Graph:
    """Find out what a TorchScript module takes, by rows of zeros.

    Args:
        module: in evaluation mode.
        columns: the names that its card gives; None: unknown.
        count: how many columns its card has; None: unknown.

    Raises:
        ValueError: its arguments are not tensors, or it answers no rows.
    """
    schema = module.forward.schema
    arguments = [each for each in schema.arguments[1:] if not each.has_default_value()]
    strange = [each for each in arguments if str(each.type) != "Tensor" or each.kwarg_only]
    if strange or not arguments:
        seen = f"{strange[0].name} of type {strange[0].type}" if strange else "nothing"
        raise ValueError(f"its forward takes {seen}; it must take tensors of rows")
    returned = schema.returns[0].type
    kind = returned.kind()
    if kind not in ("TensorType", "TupleType"):
        raise ValueError(f"its forward returns {returned}; {_AS_TENSOR}")
    held = [*module.parameters(), *module.buffers()]
    names = [each.name for each in arguments]

    def call(tensors: Sequence[Any]) -> Any:
        return module(*tensors)

    inputs: tuple[Input, ...]
    if len(names) == 1:
        inputs = (_matrix(call, names[0], held, count),)
    else:
        inputs = _columns(call, names, held, columns)
    outputs = len(returned.elements()) if kind == "TupleType" else 1
    return Graph(inputs, call, outputs, one_by_one=False, weights_bytes=_bytes_of(held))


def tensors_of(returned: Any) -> list[Any]:
    """Return what a program gave as a list of tensors.

    Raises:
        ValueError: it gave something else.
    """
    given = list(returned) if isinstance(returned, tuple | list) else [returned]
    if not all(hasattr(each, "dtype") and hasattr(each, "shape") for each in given):
        raise ValueError(f"it returns a {type(returned).__name__}; {_AS_TENSOR}")
    return given


def _matrix(
    call: Callable[[Sequence[Any]], Any], name: str, held: Sequence[Any], count: int | None
) -> Input:
    """Return the one input of a module: the first type of numbers that it answers, and its columns.

    Its columns are certain where it answers one of the widths that its weights suggest and neither of
    that one's neighbours, as a matrix product does.
    """
    problem = None
    sizes = sorted({size for each in held for size in each.shape})[:_MOST_SIZES]
    near = {size + step for size in sizes for step in (-1, 0, 1)}
    widths = [count] if count is not None else sorted(width for width in near if width > 0)
    for dtype in _types(held):
        answered = []
        for width in widths:
            problem = _problem(call, [Input(name, dtype, (width,))])
            if problem is None:
                answered.append(width)
        if answered:
            return Input(name, dtype, (answered[0] if len(answered) == 1 else _ANY,))
    if count is not None:
        raise ValueError(f"it does not answer rows of the {count} columns of its card: {problem}")
    return Input(name, _types(held)[0], (_ANY,))


def _columns(
    call: Callable[[Sequence[Any]], Any],
    names: Sequence[str],
    held: Sequence[Any],
    card: Sequence[str] | None,
) -> tuple[Input, ...]:
    """Return an input for each column, of the first types and shapes that the module answers."""
    if card is not None and set(card) != set(names):
        raise ValueError(f"its inputs are {', '.join(names)}, the columns of its card {', '.join(card)}")
    kinds = [(dtype, shape) for dtype in _types(held) for shape in ((1,), ())]
    same = [(kind,) * len(names) for kind in kinds]
    tried: Iterable[tuple[tuple[Any, tuple[int, ...]], ...]] = same
    if len(names) <= _MOST_PRODUCTS:
        tried = [*same, *(each for each in product(kinds, repeat=len(names)) if each not in same)]
    problem = None
    for each in tried:
        inputs = tuple(Input(name, *kind) for name, kind in zip(names, each, strict=True))
        problem = _problem(call, inputs)
        if problem is None:
            return inputs
    raise ValueError(
        f"its {len(names)} inputs ({', '.join(names)}) do not take a column each: {problem}; give it one "
        "matrix, or an input for each column"
    )


def _problem(call: Callable[[Sequence[Any]], Any], inputs: Sequence[Input]) -> str | None:
    """Return why two rows of zeros are not answered; None: they are."""
    import torch  # noqa: PLC0415 - an extra

    tensors = [torch.from_numpy(np.zeros((2, *each.shape), each.dtype)) for each in inputs]
    try:
        with torch.inference_mode():
            first = tensors_of(call(tensors))[0]
    except Exception as error:  # whatever a program raises
        return cause(error)
    return None if tuple(first.shape[:1]) == (2,) else f"two rows give shape {tuple(first.shape)}"


def cause(error: BaseException) -> str:
    """Return the line of an error of PyTorch that names the problem, below the frames of the program."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("RuntimeError:", "IndexError:"))] or lines
    return (said[-1] if said[:1] != lines[:1] else said[0]) if said else type(error).__name__


def _types(held: Sequence[Any]) -> list[np.dtype[Any]]:
    """Return the types of numbers to try: that of the weights, then whole numbers, as embeddings take."""
    floating = [each.dtype for each in held if each.is_floating_point()]
    return [_numpys(floating[0]) if floating else np.dtype(np.float32), np.dtype(np.int64)]


def _numpys(dtype: Any) -> np.dtype[Any]:
    import torch  # noqa: PLC0415 - an extra

    try:
        same: np.dtype[Any] = torch.empty(0, dtype=dtype).numpy().dtype
    except TypeError:
        raise ValueError(f"it takes {dtype}, which NumPy has no type for; export it with float32") from None
    return same


def _refuse_what_is_no_table(inputs: Sequence[Input]) -> None:
    if not inputs:
        raise ValueError("it has no inputs")
    for each in inputs:
        if each.shape.count(_ANY) > 1 or (each.columns is None and len(each.shape) > 1):
            raise ValueError(f"its input {each.name!r} has several free dimensions; export it with one")
        if len(inputs) > 1 and each.columns != 1:
            width = "any number of" if each.columns is None else each.columns
            raise ValueError(
                f"of its {len(inputs)} inputs, {each.name!r} takes {width} columns; export it with one "
                "matrix, or with one input for each column"
            )


def _bytes_of(held: Iterable[Any]) -> int:
    return sum(each.nbytes for each in held if hasattr(each, "nbytes"))

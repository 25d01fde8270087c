"""What compiled models share in memory, and that a hostile artifact can't fill the memory with it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.kernels import base
from tenantry_server.kernels.base import one_array_of, one_of


def test_equal_columns_and_labels_are_kept_once() -> None:
    assert one_of(("a", "b", "c")) is one_of(tuple("abc"))
    first, second = one_array_of(np.array(["yes", "no"])), one_array_of(np.array(["yes", "no"]))
    assert first is second
    assert first.tolist() == ["yes", "no"]
    assert one_array_of(np.array([1, 0])).dtype == np.int64


def test_arrays_that_differ_only_in_type_or_shape_are_not_mixed_up() -> None:
    zeros = [np.zeros(2, np.int64), np.zeros(2), np.zeros((1, 2)), np.zeros((2, 1))]
    assert [one_array_of(each).dtype for each in zeros] == [each.dtype for each in zeros]
    assert [one_array_of(each).shape for each in zeros] == [each.shape for each in zeros]


def test_what_is_shared_is_bounded_in_bytes() -> None:
    for number in range(80):
        wide = tuple(f"{number}-{column}-{'x' * 1000}" for column in range(1000))
        assert one_of(wide) == wide
    assert base._TUPLES._bytes <= 32 << 20
    assert one_of(("x" * (64 << 20),)) == ("x" * (64 << 20),)
    assert base._TUPLES._bytes <= 32 << 20


@given(st.lists(st.integers(1, 1 << 40), max_size=8))
def test_the_bytes_of_a_tuple_grow_with_it(values: list[int]) -> None:
    assert base.deep_bytes((*values, "a")) > base.deep_bytes(tuple(values))

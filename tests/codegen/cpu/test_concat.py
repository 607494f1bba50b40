"""Concatenations against numpy's: of whole operands, and of slices, which are not copied twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from graphs import Graph, array
from mlc.ir.dims import symbol
from mlc.ir.ops.shape import ConcatOp, SliceOp, TransposeOp
from native import Native


def cut(g: Graph, x, axis: int, start: int | str, stop: int | str, step: int = 1):
    shape = [str(d) for d in x.type.shape]
    bounds = [[a, b, 1] for a, b in zip([0] * len(shape), shape, strict=True)]
    bounds[axis] = [start, stop, step]
    starts, stops, steps = (tuple(column) for column in zip(*bounds, strict=True))
    return g(SliceOp, x, starts=starts, stops=stops, steps=steps)


def algorithms(native: Native) -> list[str]:
    return [site["algorithm"] for site in native.build.sites]


@pytest.mark.parametrize(
    ("shape", "axis", "shift"),
    [
        ((7,), 0, 3),
        ((5, 3), 0, 4),
        ((5, 3), 1, 1),
        ((9001,), 0, 13),
        ((2, 131, 67), 1, 130),
        ((1, 57, 56, 5), 1, 3),
        ((1, 57, 56, 5), 2, 53),
        ((17, 3, 2), 1, 1),
        ((4, 0, 2), 1, 0),
    ],
)
def test_what_is_rolled_is_copied_once(shape: tuple[int, ...], axis: int, shift: int):
    g, x = Graph(shape), array(*shape)
    parts = [cut(g, g.inputs[0], axis, a, b) for a, b in ((shift, shape[axis]), (0, shift))]
    native = Native(g.module(g(ConcatOp, *parts, axis=axis)))
    (got,) = native.run([x])
    np.testing.assert_array_equal(got, np.roll(x, -shift, axis))
    assert algorithms(native) == ["concat"]


@pytest.mark.parametrize("sizes", [(1, 4096), (4095, 2), (4096, 4096), (3, 0, 8191, 1), (63, 65)])
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_parts_of_rows(sizes: Sequence[int], rows: int):
    arrays = [array(rows, size, seed=n) for n, size in enumerate(sizes)]
    g = Graph(*(a.shape for a in arrays))
    (got,) = Native(g.module(g(ConcatOp, *g.inputs, axis=1))).run(arrays, threads=2)
    np.testing.assert_array_equal(got, np.concatenate(arrays, 1))


@pytest.mark.parametrize("size", [2, 3, 4100])
def test_symbolic_sizes(size: int):
    g, x = Graph((3, symbol("S"), 2)), array(3, size, 2)
    parts = [cut(g, g.inputs[0], 1, "S//2", "S"), cut(g, g.inputs[0], 1, 0, "S//2")]
    native = Native(g.module(g(ConcatOp, *parts, axis=1)))
    (got,) = native.run([x])
    np.testing.assert_array_equal(got, np.roll(x, -(size // 2), 1))
    assert algorithms(native) == ["concat"]


def test_other_slices_stay_kernels():
    g, x = Graph((4, 6)), array(4, 6)
    turned = g(TransposeOp, g.inputs[0], perm=(1, 0))
    parts = [cut(g, g.inputs[0], 1, 0, 6, 2), cut(g, cut(g, turned, 1, 0, 4), 0, 0, 4)]
    wide = cut(g, g.inputs[0], 0, 0, 4)
    result = g(ConcatOp, parts[0], parts[1], wide, axis=1)
    (got,) = Native(g.module(result)).run([x])
    np.testing.assert_array_equal(got, np.concatenate([x[:, ::2], x.T[:4], x], 1))


def test_a_slice_that_others_read_is_a_value():
    g, x = Graph((4, 6)), array(4, 6)
    part = cut(g, g.inputs[0], 1, 1, 5)
    (joined, alone) = Native(g.module(g(ConcatOp, part, g.inputs[0], axis=1), part)).run([x])
    np.testing.assert_array_equal(joined, np.concatenate([x[:, 1:5], x], 1))
    np.testing.assert_array_equal(alone, x[:, 1:5])

"""Algorithms on the values and sizes that are easily wrong: NaN, zeros of both signs, ties."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from mlc.ir.interpreter import interpret
from mlc.ir.module import model_module
from mlc.ir.op import GraphOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.scatter import ScatterElementsOp, ScatterNdOp
from mlc.ir.ops.select import NonMaxSuppressionOp, UniqueOp
from mlc.ir.ops.sort import ArgMaxOp, ArgMinOp, TopKOp
from mlc.ir.ops.words import comparable
from mlc.ir.types import tensor
from native import run_native
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block

HARD = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -1.5, 1e-30]
FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


def model(kind: type[GraphOp], arrays: list[np.ndarray], **params: Any) -> ModuleOp:
    block = Block(arg_types=[tensor(a.shape, a.dtype) for a in arrays])
    op = kind(*block.args, **params)
    block.add_ops([op, ReturnOp(operands=[list(op.results)])])
    names = [f"x{k}" for k in range(len(arrays))]
    return model_module(block, names, [f"y{k}" for k in range(len(op.results))])


def check(kind: type[GraphOp], arrays: list[np.ndarray], **params: Any) -> None:
    """Native code and the interpreter agree to the bit."""
    got = run_native(model(kind, arrays, **params), arrays)
    wanted = interpret(model(kind, arrays, **params), arrays)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(comparable(a), comparable(b))


def hard_values(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.random.default_rng(3).choice(HARD, shape).astype(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("size", "k"), [(1, 1), (67, 5), (400, 64), (400, 65), (999, 999)])
def test_top_k(dtype: type, largest: bool, size: int, k: int):
    check(TopKOp, [hard_values((2, size), dtype)], k=k, axis=1, largest=largest)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.uint32, np.int8])
@pytest.mark.parametrize("largest", [True, False])
def test_top_k_of_the_largest_integers(dtype: type, largest: bool):
    info = np.iinfo(dtype)
    x = np.array([0, 1, info.max, info.min, info.max - 1, info.min, info.max], dtype)
    check(TopKOp, [x], k=7, axis=0, largest=largest)


@pytest.mark.parametrize("kind", [ArgMaxOp, ArgMinOp])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_arg_max(kind: type[GraphOp], dtype: type, last: bool, axis: int):
    x = hard_values((41, 37), dtype)
    x[:20, :20] = np.float32(1)
    check(kind, [x], axis=axis, select_last=last)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("shape", [(1000,), (100, 2)])
def test_unique(dtype: type, ordered: bool, shape: tuple[int, ...]):
    check(UniqueOp, [np.abs(hard_values(shape, dtype))], ordered=ordered, count="K")


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scatter_where_updates_meet(reduction: str, axis: int):
    rng = np.random.default_rng(3)
    x = rng.integers(-9, 9, (5, 7, 300))
    shape = tuple(n if k == axis else n - 2 for k, n in enumerate(x.shape))
    indices = rng.integers(-5, 5, shape)
    check(
        ScatterElementsOp,
        [x, indices, rng.integers(-9, 9, shape)],
        axis=axis,
        reduction=reduction,
    )


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scatter_slices_that_meet(reduction: str, depth: int):
    rng = np.random.default_rng(3)
    x = rng.integers(-9, 9, (3, 4, 300))
    indices = rng.integers(-3, 3, (11, depth))
    updates = rng.integers(-9, 9, (11, *x.shape[depth:]))
    check(ScatterNdOp, [x, indices, updates], reduction=reduction)


def test_updates_outside_are_left_out():
    x = np.zeros(4, np.float32)
    indices = np.array([5, -5, 2**40, -(2**40), 1])
    module = model(ScatterElementsOp, [x, indices, np.ones(5, np.float32)], axis=0)
    (got,) = run_native(module, [x, indices, np.ones(5, np.float32)])
    assert got.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("centered", [False, True])
def test_suppression_of_many_boxes(centered: bool):
    rng = np.random.default_rng(3)
    boxes = rng.uniform(size=(2, 500, 4)).astype(np.float32)
    scores = rng.choice(np.linspace(0, 1, 50), (2, 3, 500)).astype(np.float32)
    scores[0, 0, ::7] = np.nan
    params = {"limit": 40, "overlap": 0.4, "least_score": 0.2, "centered": centered}
    check(NonMaxSuppressionOp, [boxes, scores], count="K", **params)

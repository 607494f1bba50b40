"""Attention of few queries, whose keys are taken in parts that a second launch combines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_interpreted import run_stood_in
from gpu import FLOATS, check, values
from graphs import build as module_of
from mlc.codegen.cuda.build import Build, build
from mlc.codegen.cuda.target import target_for
from mlc.ir.dims import substitute, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.shape import TransposeOp
from xdsl.dialects.builtin import ModuleOp

pytestmark = pytest.mark.interpreted

N, S = symbol("N"), symbol("S")
F32 = FLOATS[0]
Shape = tuple[Any, ...]


def attention(*shapes: Shape, dtype: np.dtype = F32, **params: Any) -> ModuleOp:
    def graph(g, *operands):
        return g(AttentionOp, *operands, scale=0.3, **params)

    return module_of(graph, *shapes, dtype=dtype)


def decode(heads: int, groups: int, keys: Any, features: int, batch: Any = 1, queries: Any = 1):
    """The shapes of queries, keys and values of a decoding step."""
    kept = batch, groups, keys, features
    return (batch, heads, queries, features), kept, kept


def parts(made: Build, **sizes: int) -> tuple[int, int]:
    """The grids of both launches."""
    first, last = (substitute(code.grid, sizes) for code in made.codes)
    return int(str(first)), int(str(last))


def drawn(shapes: tuple[Shape, ...], dtype: np.dtype, **sizes: int) -> list[np.ndarray]:
    known = (tuple(int(str(substitute(d, sizes))) for d in shape) for shape in shapes)
    return [values(shape, dtype, n) for n, shape in enumerate(known)]


@pytest.mark.parametrize("dtype", FLOATS, ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("size", [(6, 2, 1531, 16), (1, 1, 977, 5)], ids=str)
def test_one_query_of_many_keys(size: tuple[int, int, int, int], dtype: np.dtype):
    shapes = decode(*size)
    module = attention(*shapes, dtype=dtype)
    assert len(build(module.clone(), target_for("cuda:sm_90")).codes) == 2
    check(module, drawn(shapes, dtype))


def test_keys_as_long_as_the_run_says():
    """Where they are few, one program takes them all, and nothing is launched behind it."""
    shapes = decode(4, 2, S, 16)
    module = attention(*shapes, causal=True)
    made = build(module.clone(), target_for("cuda:sm_90"))
    assert parts(made, S=1) == (2, 0)
    assert parts(made, S=100_000) == (2 * 66, 4)
    check(module, *(drawn(shapes, F32, S=n) for n in (0, 1, 31, 997, 2111)))


def test_as_many_parts_as_fill_the_gpu():
    shapes = decode(4, 2, S, 16, batch=N)
    made = build(attention(*shapes), target_for("cuda:sm_90"))
    assert parts(made, N=0, S=5) == (0, 0)
    assert parts(made, N=1, S=100_000) == (2 * 66, 4)
    assert parts(made, N=30, S=100_000) == (2 * 30 * 2, 4 * 30)
    assert parts(made, N=80, S=100_000) == (2 * 80, 0)


def test_a_batch_of_any_size():
    shapes = decode(2, 1, S, 4, batch=N)
    module = attention(*shapes)
    check(module, *(drawn(shapes, F32, N=n, S=s) for n, s in ((0, 9), (2, 1009), (3, 2))))


def test_masks_and_queries_that_see_no_key():
    shapes = (*decode(4, 2, 1100, 8, queries=3), (3, 1100))
    module = attention(*shapes)
    arrays = drawn(shapes, F32)
    arrays[3][0, :700] = -np.inf
    arrays[3][1] = -np.inf
    check(module, arrays)


def test_a_few_queries_see_the_keys_before_them():
    shapes = decode(3, 3, 1301, 8, queries=7)
    check(attention(*shapes, causal=True), drawn(shapes, F32))


def test_the_result_is_transposed():
    shapes = decode(4, 1, 1201, 8, queries=2)

    def graph(g, q, k, v):
        return g(TransposeOp, g(AttentionOp, q, k, v), perm=(0, 2, 1, 3))

    check(module_of(graph, *shapes), drawn(shapes, F32))


def test_programs_that_fill_the_gpu_take_all_keys():
    made = build(attention(*decode(160, 160, 4096, 64)), target_for("cuda:sm_90"))
    assert len(made.codes) == 1


def test_launches_on_a_gpu_that_is_stood_in_for():
    shapes = decode(4, 2, S, 16, batch=N)
    module = attention(*shapes)
    for sizes in ({"N": 1, "S": 1201}, {"N": 2, "S": 3}):
        arrays = drawn(shapes, F32, **sizes)
        (wanted,) = interpret(module, arrays)
        (got,) = run_stood_in(module.clone(), arrays)
        np.testing.assert_allclose(got, wanted, 1e-5, 1e-5)

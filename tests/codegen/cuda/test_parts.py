"""Kernels whose depth is taken in parts that a second launch combines, interpreted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cuda_interpreted import run_stood_in
from gpu import BF16, FLOATS, check, values
from graphs import build as module_of
from mlc.codegen.cuda.build import build
from mlc.codegen.cuda.order import waits
from mlc.codegen.cuda.target import target_for
from mlc.ir.dims import Dim, substitute, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, GeluOp, ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.reduce import ReduceMaxOp, ReduceMeanOp, ReduceSumOp
from mlc.ir.ops.select import CompressOp
from mlc.ir.ops.sort import ArgMaxOp
from mlc.passes.arena import Workspace
from mlc.passes.memory_plan import plan_memory
from xdsl.dialects.builtin import ModuleOp

pytestmark = pytest.mark.interpreted

N, S = symbol("N"), symbol("S")
F32 = FLOATS[0]


def in_parts(module: ModuleOp) -> ModuleOp:
    """The module, whose first kernel surely has two launches."""
    first = build(module.clone(), target_for("cuda:sm_90")).codes[0]
    assert first.then
    assert first.workspaces
    return module


@pytest.mark.parametrize("dtype", FLOATS, ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("size", [(4096, 17), (9973, 1), (6144, 48)], ids=str)
def test_a_row_times_a_matrix(size: tuple[int, int], dtype: np.dtype):
    depth, columns = size
    shapes = (1, depth), size, (columns,)
    module = module_of(
        lambda g, x, w, b: g(GeluOp, g(AddOp, g(MatmulOp, x, w), b)), *shapes, dtype=dtype
    )
    check(in_parts(module), [values(s, dtype, n) for n, s in enumerate(shapes)])


@pytest.mark.parametrize("dtype", FLOATS, ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("size", [(7, 2053, 17)], ids=str)
def test_a_few_rows_times_a_matrix(size: tuple[int, int, int], dtype: np.dtype):
    rows, depth, columns = size
    shapes = (rows, depth), (depth, columns), (columns,)
    module = module_of(
        lambda g, x, w, b: g(GeluOp, g(AddOp, g(MatmulOp, x, w), b)), *shapes, dtype=dtype
    )
    check(in_parts(module), [values(s, dtype, n) for n, s in enumerate(shapes)])


def test_a_batch_of_products():
    shapes = (2, 1, 5, 523), (2, 1, 523, 7)
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes)
    check(in_parts(module), [values(s, F32, n) for n, s in enumerate(shapes)])


def test_products_of_bytes_are_exact():
    kinds, to = (np.dtype(np.uint8), np.dtype(np.uint8)), np.dtype(np.int32)
    shapes = (5, 3001), (3001, 7)
    module = module_of(lambda g, x, w: g(MatmulOp, x, w, to=to), *shapes, dtypes=kinds)
    check(in_parts(module), [values(s, k, 3) for s, k in zip(shapes, kinds, strict=True)])


def test_a_convolution_of_many_channels():
    window = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    shapes = (1, 3, 5, 64), (3, 3, 64, 24)
    module = module_of(lambda g, x, w: g(ReluOp, g(ConvOp, x, w, **window)), *shapes)
    check(in_parts(module), [values(s, F32, n) for n, s in enumerate(shapes)])


@pytest.mark.parametrize(
    "reduce",
    [
        lambda g, x: g(ReduceSumOp, x, axes=(0,), keepdims=True),
        lambda g, x: g(ReduceMaxOp, x, axes=(0,), keepdims=False),
        lambda g, x: g(ReduceMeanOp, x, axes=(0,), keepdims=False),
    ],
    ids=["sum", "max", "mean"],
)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=["f32", "bf16"])
def test_few_results_of_much(reduce: Callable, dtype: np.dtype):
    shape = 20011, 3
    check(in_parts(module_of(reduce, shape, dtype=dtype)), [values(shape, dtype)])


ALL = {
    "sum": lambda g, x: g(ReduceSumOp, x, axes=(0, 1), keepdims=False),
    "mean": lambda g, x: g(ReduceMeanOp, x, axes=(0, 1), keepdims=True),
    "max": lambda g, x: g(ReluOp, g(ReduceMaxOp, x, axes=(0, 1), keepdims=False)),
}


@pytest.mark.parametrize("name", ALL)
def test_everything_becomes_one_number(name: str):
    shape = 331, 307
    check(in_parts(module_of(ALL[name], shape)), [values(shape, F32)])


def test_what_is_greatest_of_a_long_row():
    shape = 2, 30_011
    module = module_of(lambda g, x: g(ArgMaxOp, x, axis=1, keepdims=False), shape)
    check(in_parts(module), [values(shape, F32)])


@pytest.mark.parametrize("name", ALL)
def test_everything_of_a_size_that_only_the_run_knows(name: str):
    runs = ([values((n, s), F32)] for n, s in ((0, 3), (1, 1), (7, 1021), (17, 5003)))
    check(in_parts(module_of(ALL[name], (N, S))), *runs)


@pytest.mark.parametrize("axis", [0, 1])
def test_as_many_results_as_the_run_says(axis: int):
    """In parts where they are few, and else by the first launch alone."""
    module = module_of(lambda g, x: g(ReduceSumOp, x, axes=(axis,), keepdims=False), (S, S))
    made = build(module.clone(), target_for("cuda:sm_90"))
    many, few = (int(str(substitute(made.codes[1].grid, {"S": n}))) for n in (20_000, 257))
    assert many == 0
    assert few == (0 if axis else few)
    check(module, *([values((n, n), F32)] for n in (0, 1, 257)))
    wide = module_of(lambda g, x: g(ReduceSumOp, x, axes=(0,), keepdims=False), (S, N))
    check(wide, *([values(size, F32)] for size in ((20_011, 3), (3, 700), (1009, 1))))


def test_sums_of_integers_are_exact():
    shape, dtype = (30_000, 2), np.dtype(np.int32)
    module = module_of(
        lambda g, x: g(ReduceSumOp, x, axes=(0,), keepdims=False), shape, dtype=dtype
    )
    check(in_parts(module), [values(shape, dtype)])


def test_a_depth_that_only_the_run_knows():
    for rows, sizes in ((1, (0, 1, 131, 8192)), (6, (0, 1, 331))):
        module = module_of(lambda g, x, w: g(MatmulOp, x, w), (rows, S), (S, 5))
        runs = ([values((rows, n), F32), values((n, 5), F32, 1)] for n in sizes)
        check(in_parts(module), *runs)


def test_as_many_rows_as_the_run_says():
    """In parts where rows are few, and else by the first launch alone."""
    shapes = (N, 2053), (2053, 200)
    module = module_of(lambda g, x, w: g(ReluOp, g(MatmulOp, x, w)), *shapes, dtype=FLOATS[1])
    made = build(module.clone(), target_for("cuda:sm_90"))
    few, many = ([substitute(c.grid, {"N": n}) for c in made.codes] for n in (1, 10_000))
    assert min(map(str, few)) > "0"
    assert many[1] == 0
    wide = values((2053, 200), FLOATS[1], 1)
    check(in_parts(module), *([values((n, 2053), FLOATS[1]), wide] for n in (0, 1, 67)))


def test_as_many_rows_as_the_run_finds():
    """Parts take no more memory than programs that fill the GPU write."""
    kinds = F32, np.dtype(bool)
    w = values((1031, 9), F32, 2)

    def graph(g, x, kept):
        return g(MatmulOp, g(CompressOp, x, kept, axis=0, count="K"), w)

    module = module_of(graph, (30, 1031), (30,), dtypes=kinds)
    made = build(module.clone(), target_for("cuda:ptx"))
    assert any(code.then for code in made.codes)
    assert isinstance(made.arena, int)
    assert made.arena < 4 << 20
    x, kept = values((30, 1031), F32), np.arange(30) % 7 == 1
    (wanted,) = interpret(module, [x, kept])
    (got,) = run_stood_in(module, [x, kept])
    np.testing.assert_allclose(got, wanted, 1e-4, 1e-3)


def test_batches_as_large_as_the_run_says():
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), (N, 5, S), (N, S, 7))
    runs = ((n, s) for n, s in ((0, 3), (1, 2053), (3, 1021), (2, 0)))
    check(
        in_parts(module),
        *([values((n, 5, s), F32), values((n, s, 7), F32, 1)] for n, s in runs),
    )


def test_a_batch_of_images_as_large_as_the_run_says():
    window = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    shapes = (N, 3, 2, 256), (3, 3, 256, 24)
    module = module_of(lambda g, x, w: g(ConvOp, x, w, **window), *shapes)
    weight = values(shapes[1], F32, 1)
    check(in_parts(module), *([values((n, 3, 2, 256), F32), weight] for n in (1, 5)))


@pytest.mark.parametrize("rows", [4, N], ids=str)
def test_products_in_parts_run_side_by_side(rows: Dim):
    """Each has a workspace of its own until somebody reads what they give."""

    def graph(g, x, *weights):
        first, second, third = (g(MatmulOp, x, w) for w in weights)
        return g(AddOp, g(AddOp, first, second), third)

    shapes = (rows, 2048), *((2048, 256),) * 3
    steps = build(module_of(graph, *shapes), target_for("cuda:sm_90")).steps
    after = waits([step.buffers for step in steps])
    assert after == [[], [0], [], [2], [1, 3], [4]]


def test_workspaces_lie_where_nothing_else_is_needed():
    def graph(g, x):
        y = g(GeluOp, x)
        z = g(AddOp, y, x)
        return g(AddOp, g(GeluOp, z), y)

    block = module_of(graph, (16,)).body.block.first_op.regions[0].block  # type: ignore[union-attr]
    ops = list(block.ops)
    asked = Workspace(ops[1], 0), Workspace(ops[1], 1)
    plan = plan_memory(block, workspaces=dict.fromkeys(asked, 100))
    taken = [plan.places[op.results[0]] for op in ops[:2]]
    starts = [p.offset for p in (*taken, *(plan.workspaces[w] for w in asked))]
    assert set(starts) == {0, 128, 256, 320}
    assert plan.arena == 384

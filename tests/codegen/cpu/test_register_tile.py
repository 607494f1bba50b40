"""Register tiles: a matrix-product kernel in a handful of ops, over odd depths and all widths."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from mlc.codegen.cpu.builder import LoopBuilder
from mlc.codegen.cpu.compile import Library, compile_object
from mlc.codegen.cpu.emit import emit_module
from mlc.codegen.cpu.target import host, target_for
from mlc.ir.loop import buffer, tile
from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType, IndexType, f32
from xdsl.ir import Block, Region


def product_kernel(rows: int, columns: int) -> func.FuncOp:
    """``@kernel(a, b, c, depth)``: c[rows, columns] = a[rows, depth] @ b[depth, columns]."""
    arguments = [buffer(f32)] * 3 + [IndexType()]
    block = Block(arg_types=arguments)
    a, b, c, depth = block.args
    k = LoopBuilder(block)
    zero, one, width = k.index(0), k.index(1), k.index(columns)
    start = [k.load(c, zero, tile((rows, columns), f32), [width, one])]

    def step(i, carried):
        left = k.load(a, i, tile((rows, 1), f32), [depth, one])
        right = k.load(b, k.mul_index(i, width), tile((1, columns), f32), [zero, one])
        return [k.fma(left, right, carried[0])]

    (total,) = k.fold(zero, depth, start, step)
    k.store(total, c, zero, [width, one])
    k.add(func.ReturnOp())
    return func.FuncOp("kernel", FunctionType.from_lists(arguments, []), Region(block))


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (6, 64), (5, 17), (3, 31), (12, 32)])
def test_product(target: str, rows: int, columns: int):
    facts = host() if target == "cpu" else target_for(target)
    if facts.vector_bits > host().vector_bits:
        pytest.skip("this machine has narrower vectors")
    text = emit_module([product_kernel(rows, columns)], facts)
    library = Library([compile_object(text, facts)], ["kernel"])
    rng = np.random.default_rng(3)
    for depth in (0, 1, 7, 64):
        a = rng.standard_normal((rows, depth), np.float32)
        b = rng.standard_normal((depth, columns), np.float32)
        c = np.zeros((rows, columns), np.float32)
        pointers = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, c)]
        library["kernel"](*pointers, ctypes.c_int64(depth))
        np.testing.assert_allclose(c, a @ b, rtol=1e-5, atol=1e-5)

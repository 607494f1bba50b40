"""Regions take, make and give only what they have to."""

from __future__ import annotations

import numpy as np
from graphs import Graph, apply, counts, names
from mlc.ir.ops.constant import DimsOp
from mlc.ir.ops.control import IfOp, LoopOp, ReturnOp, enclose
from mlc.ir.ops.elementwise import AddOp, ExpOp, MulOp, NegOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.shape import TransposeOp
from mlc.ir.types import BOOL, I64
from mlc.passes.fold_constants import FoldConstants
from mlc.passes.tidy_regions import TidyRegions
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Region, SSAValue

WEIGHT = np.eye(4, dtype=np.float32) + 0.25


def looped(read_rows: bool = True) -> ModuleOp:
    """A loop with a weight that is turned outside, and a product of captured values."""
    g = Graph((4, 4), (4, 4), (4, 4))
    x, y, unread = g.inputs
    turned = g(TransposeOp, g.value(WEIGHT), perm=(1, 0))
    block = Block(arg_types=[x.type])
    inner = Graph()
    inner.block = block
    same = inner(ExpOp, inner(MulOp, y, 0.5))
    index = inner(DimsOp, elements=("I",), shape=(), dtype=np.dtype(np.float32))
    changing = inner(AddOp, inner(MulOp, y, index), unread)
    new = inner(AddOp, inner(MatmulOp, block.args[0], turned), inner(AddOp, same, changing))
    row = inner(NegOp, new)
    go = inner.value(np.asarray(True))
    block.add_op(ReturnOp(operands=[[go, new, row, changing]]))
    values: list[SSAValue] = [x, *enclose(block)]
    number, truth = g.value(np.asarray(3, I64)), g.value(np.asarray(True, BOOL))
    op = LoopOp(number, truth, *values, carried=1, length=3, index="I", regions=[Region(block)])
    g.block.add_op(op)
    return g.module(op.results[0], *op.results[1 : 1 + read_rows])


def body(module: ModuleOp) -> LoopOp:
    return next(op for op in module.walk() if isinstance(op, LoopOp))


def test_constants_become_the_regions_own():
    module = apply(looped(), FoldConstants(), TidyRegions())
    product = next(op for op in body(module).block.ops if isinstance(op, MatmulOp))
    assert product.y.owner.name == "mlc.constant"  # pyright: ignore[reportAttributeAccessIssue]
    assert "transpose" not in names(module)


def test_what_does_not_change_is_computed_before():
    module = apply(looped(), TidyRegions())
    inside = [op.name for op in body(module).block.ops]
    assert "mlc.exp" not in inside
    assert counts(module)["exp"] == 1
    assert inside.count("mlc.mul") == 1  # the product with the index


def test_rows_that_nobody_reads_are_not_stacked():
    module = apply(looped(), TidyRegions())
    assert len(body(module).results) == 2
    assert len(body(apply(looped(False), TidyRegions())).results) == 1
    assert counts(module)["neg"] == 1
    assert counts(apply(looped(False), TidyRegions()))["neg"] == 0


def test_a_known_branch_is_taken():
    g = Graph((2, 3))
    (x,) = g.inputs
    sides = []
    for kind in (NegOp, ExpOp):
        inner = Graph()
        inner.block = Block()
        inner.block.add_op(ReturnOp(operands=[[inner(kind, x), x]]))
        sides.append(inner.block)
    captured = enclose(*sides)
    known = g.value(np.asarray(False))
    op = IfOp(known, *captured, counts=(), regions=[Region(side) for side in sides])
    g.block.add_op(op)
    module = apply(g.module(*op.results), TidyRegions())
    assert names(module) == ["exp"]

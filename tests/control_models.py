"""Small models with branches and loops in one another."""

from __future__ import annotations

import numpy as np
from graphs import Graph
from mlc.ir.dims import symbol
from mlc.ir.module import main_function
from mlc.ir.ops.constant import DimsOp
from mlc.ir.ops.control import IfOp, LoopOp, ReturnOp, enclose
from mlc.ir.ops.elementwise import AddOp, ExpOp, LtOp, MulOp, NegOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.reduce import ReduceSumOp
from mlc.ir.ops.shape import SliceOp
from mlc.ir.types import type_of
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Region, SSAValue

F32 = np.dtype(np.float32)
WEIGHT = np.linspace(-0.3, 0.5, 16, dtype=np.float32).reshape(4, 4)


class Body(Graph):
    """A graph inside another; what it reads from around it is captured in the end."""

    def __init__(self, *types: SSAValue):
        kinds = [v.type for v in types]
        super().__init__()
        self.block = Block(arg_types=kinds)

    def close(self, *results: SSAValue) -> Block:
        self.block.add_op(ReturnOp(operands=[list(results)]))
        return self.block


def truth(g: Graph) -> SSAValue:
    return g.value(np.asarray(True))


def branch(g: Graph, condition: SSAValue, *sides: Block, counts: tuple[str, ...] = ()) -> IfOp:
    captured = enclose(*sides)
    op = IfOp(condition, *captured, counts=counts, regions=[Region(s) for s in sides])
    g.block.add_op(op)
    return op


def loop(
    g: Graph,
    body: Block,
    trips: SSAValue,
    condition: SSAValue,
    carried: list[SSAValue],
    **how: int | str,
) -> LoopOp:
    values = [*carried, *enclose(body)]
    op = LoopOp(trips, condition, *values, carried=len(carried), regions=[Region(body)], **how)
    g.block.add_op(op)
    return op


def taken() -> ModuleOp:
    """A product on one side; on the other, what is captured."""
    g = Graph((symbol("N"), 4))
    (x,) = g.inputs
    then, other = Body(), Body()
    product = then(MatmulOp, x, then.value(WEIGHT))
    sides = then.close(product, x), other.close(x, other(NegOp, x))
    total = g(ReduceSumOp, x, axes=(0, 1), keepdims=False)
    op = branch(g, g(LtOp, total, 0.0), *sides)
    return g.module(g(ExpOp, op.results[0]), op.results[1])


def sizes_differ() -> ModuleOp:
    """The half of a vector, or all of it, and its sum."""
    g = Graph((symbol("N"),))
    (x,) = g.inputs
    then, other = Body(), Body()
    half = then(SliceOp, x, starts=(0,), stops=("N//2",), steps=(1,))
    sides = then.close(half), other.close(other(NegOp, x))
    total = g(ReduceSumOp, x, axes=(0,), keepdims=False)
    op = branch(g, g(LtOp, total, 0.0), *sides, counts=("K",))
    return g.module(op.results[0], g(ReduceSumOp, g(ExpOp, op.results[0]), axes=(0,)))


def powers() -> ModuleOp:
    """Two values that change places, rows of both, until the sum is large."""
    g = Graph((symbol("N"), 4))
    (x,) = g.inputs
    body = Body(x, x)
    a, b = body.block.args
    number = body(DimsOp, elements=("I",), shape=())
    new = body(AddOp, body(MatmulOp, a, body.value(WEIGHT)), x)
    small = body(LtOp, body(ReduceSumOp, body(MulOp, new, new), axes=(0, 1), keepdims=False), 90.0)
    rows = body.close(small, b, new, new, number, b)
    nine = g.value(np.asarray(9))
    op = loop(g, rows, nine, truth(g), [x, x], count="K", limit=9, index="I")
    return g.module(*op.results, g(AddOp, op.results[0], op.results[1]))


def nested() -> ModuleOp:
    """A branch in a loop in a loop, whose rows are a row."""
    g = Graph((symbol("N"), 4))
    (x,) = g.inputs
    outer = Body(x)
    inner = Body(x)
    total = inner(ReduceSumOp, inner.block.args[0], axes=(0, 1), keepdims=False)
    then, other = Body(), Body()
    a = inner.block.args[0]
    sides = then.close(then(MulOp, a, -1.5)), other.close(other(AddOp, a, outer.block.args[0]))
    choice = branch(inner, inner(LtOp, total, 0.0), *sides).results[0]
    again = inner.value(np.asarray(True))
    rows = inner.close(again, choice, inner(NegOp, choice), choice)
    walk = loop(
        outer, rows, outer.value(np.asarray(3)), truth(outer), [outer.block.args[0]], length="3"
    )
    state = outer(MulOp, walk.results[0], 0.5)
    body = outer.close(truth(outer), state, walk.results[1], walk.results[0])
    op = loop(g, body, g.value(np.asarray(4)), truth(g), [x], length="4")
    return g.module(*op.results)


MODELS = [taken, sizes_differ, powers, nested]


def sample(module: ModuleOp, rows: int) -> list[np.ndarray]:
    (x,) = main_function(module).body.block.args
    shape = [d if isinstance(d, int) else rows for d in type_of(x).shape]
    return [np.random.default_rng(rows).uniform(-0.2, 1, shape).astype(np.float32)]

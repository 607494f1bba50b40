"""Ops with regions: what they mean, what they refuse, how they print; native code does the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from graphs import Graph
from mlc.ir.dims import symbol
from mlc.ir.errors import InferenceError
from mlc.ir.interpreter import interpret
from mlc.ir.module import main_function
from mlc.ir.ops.constant import DimsOp
from mlc.ir.ops.control import IfOp, LoopOp, ReturnOp, enclose
from mlc.ir.ops.elementwise import AddOp, ExpOp, LtOp, MulOp, NegOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.reduce import ReduceSumOp
from mlc.ir.ops.shape import ReshapeOp, SliceOp
from mlc.ir.text import parse_module, print_module
from mlc.ir.types import BOOL, I64, type_of
from mlc.passes.manager import Options, run_passes
from mlc.passes.pipeline import PIPELINE
from native import Native
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


@pytest.mark.parametrize("model", MODELS)
def test_native_code_does_what_the_interpreter_does(model: Callable[[], ModuleOp]):
    simplified = model()
    run_passes(simplified, PIPELINE, Options(samples=sample(simplified, 3)))
    compiled = Native(model()), Native(simplified)
    for rows, sign in itertools.product((0, 1, 5), (-1, 1)):
        arrays = [sign * a for a in sample(model(), rows)]
        wanted = interpret(model(), arrays)
        for native, threads in itertools.product(compiled, (1, 2)):
            for a, b in zip(native.run(arrays, threads), wanted, strict=True):
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, 1e-4, 1e-5)


def sample(module: ModuleOp, rows: int) -> list[np.ndarray]:
    (x,) = main_function(module).body.block.args
    shape = [d if isinstance(d, int) else rows for d in type_of(x).shape]
    return [np.random.default_rng(rows).uniform(-0.2, 1, shape).astype(np.float32)]


@pytest.mark.parametrize("model", MODELS)
def test_text_round_trip(model: Callable[[], ModuleOp]):
    text = print_module(model())
    assert print_module(parse_module(text)) == text


def test_a_loop_may_run_no_times():
    g = Graph((2, 3))
    body = Body(g.inputs[0])
    new = body(NegOp, body.block.args[0])
    rows = body.close(truth(body), new, new)
    op = loop(g, rows, g.value(np.asarray(0)), truth(g), [g.inputs[0]], count="K", limit=0)
    module = g.module(*op.results)
    x = np.ones((2, 3), np.float32)
    for got in (interpret(module, [x]), Native(module).run([x])):
        np.testing.assert_array_equal(got[0], x)
        assert got[1].shape == (0, 2, 3)


def test_what_is_carried_keeps_its_type():
    g = Graph((2, 3))
    body = Body(g.inputs[0])
    turned = body.add(ReshapeOp.to(body.block.args[0], (3, 2)))
    block = body.close(truth(body), turned)
    with pytest.raises(InferenceError, match=r"the body gives \[\[\] i1\], \[\[3, 2\] f32\]"):
        loop(g, block, g.value(np.asarray(2)), truth(g), [g.inputs[0]])


def test_sides_give_the_same_ranks():
    g = Graph((2, 3), (), dtypes=[F32, BOOL])
    then, other = Body(), Body()
    flat = then.add(ReshapeOp.to(g.inputs[0], (6,)))
    with pytest.raises(InferenceError, match=r"the sides give \[\[6\] f32\] and \[\[2, 3\] f32\]"):
        branch(g, g.inputs[1], then.close(flat), other.close(g.inputs[0]))


@pytest.mark.parametrize(
    ("limit", "bound"), [({"limit": 5}, "5"), ({"limit": "N"}, "N"), ({}, "K")]
)
def test_how_often_a_loop_runs_may_have_a_limit(limit: dict[str, int | str], bound: str):
    g = Graph((2, 3), (), dtypes=[F32, I64])
    body = Body(g.inputs[0])
    new = body(NegOp, body.block.args[0])
    rows = body.close(truth(body), new, new)
    op = loop(g, rows, g.inputs[1], truth(g), [g.inputs[0]], count="K", **limit)
    assert str(op.found()["K"]) == bound

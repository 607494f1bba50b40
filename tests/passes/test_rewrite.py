"""The driver of local rules: what it looks at, and what it refuses."""

from __future__ import annotations

import time

import pytest
from graphs import Graph, build, names
from mlc.ir.errors import PassError
from mlc.ir.op import Add, set_source, source_of
from mlc.ir.ops.elementwise import AbsOp, CosOp, ExpOp, NegOp, ReluOp, SinOp, UnaryOp
from mlc.ir.ops.reduce import ReduceSumOp
from mlc.passes.rewrite import again, if_alike, rewrite
from mlc.passes.values import producer
from xdsl.ir import SSAValue


def undo(op: UnaryOp, add: Add) -> SSAValue | None:
    inner = producer(op.x, NegOp)
    return inner.operands[0] if inner else None


def to_cosine(op: UnaryOp, add: Add) -> SSAValue:
    return add(CosOp(op.x))


def to_sine(op: UnaryOp, add: Add) -> SSAValue:
    return add(SinOp(op.x))


def test_what_a_rule_leaves_unused_is_removed():
    module = build(lambda g, x: g(ExpOp, g(NegOp, g(NegOp, x))), (3,))
    rewrite(module, {NegOp: [undo]})
    assert names(module) == ["exp"]


def summed_and_kept(op: ReduceSumOp, add: Add) -> SSAValue | None:
    return if_alike(again(op, op.x, keepdims=True), op, add)


def test_what_a_rule_tries_and_drops_reads_nothing():
    module = build(lambda g, x: g(ReduceSumOp, g(NegOp, x), axes=(0,)), (3, 2))
    rewrite(module, {ReduceSumOp: [summed_and_kept]})
    assert names(module) == ["neg", "reduce_sum"]
    (negated,) = (op for op in module.walk() if isinstance(op, NegOp))
    assert negated.results[0].get_unique_use()


def test_a_rule_sees_no_dead_uses():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        middle = g(AbsOp, x)
        g(ExpOp, g(ExpOp, middle))
        return g(ReluOp, middle)

    def alone(op: ReluOp, add: Add) -> SSAValue | None:
        return op.x if op.x.has_one_use() else None

    module = build(graph, (3,))
    rewrite(module, {ReluOp: [alone]})
    assert names(module) == ["abs"]


def test_new_ops_say_where_they_come_from():
    module = build(lambda g, x: g(SinOp, x), (3,))
    op = next(o for o in module.walk() if isinstance(o, SinOp))
    set_source(op, "node 7")
    rewrite(module, {SinOp: [to_cosine]})
    assert [source_of(o) for o in module.walk() if isinstance(o, CosOp)] == ["node 7"]


def test_rules_of_base_classes_come_first():
    seen = []

    def note(name: str):
        return lambda op, add: seen.append(name)

    module = build(lambda g, x: g(SinOp, x), (3,))
    rewrite(module, {SinOp: [note("leaf")], UnaryOp: [note("base")]})
    assert seen == ["base", "leaf"]


def test_rules_that_never_end_are_named():
    module = build(lambda g, x: g(SinOp, x), (3,))
    with pytest.raises(PassError, match=r"never end; the last applied was to_(co)?sine"):
        rewrite(module, {SinOp: [to_cosine], CosOp: [to_sine]})


def test_a_rule_must_keep_the_type():
    def wrong(op: UnaryOp, add: Add) -> SSAValue:
        return add(ReduceSumOp(op.x, axes=(0,)))

    module = build(lambda g, x: g(ExpOp, x), (3,))
    with pytest.raises(PassError, match=r"rule .*wrong replaced mlc.exp"):
        rewrite(module, {ExpOp: [wrong]})


def test_the_same_op_with_another_parameter():
    module = build(lambda g, x: g(ReduceSumOp, x, axes=(0,)), (3, 4))
    op = next(o for o in module.walk() if isinstance(o, ReduceSumOp))
    changed = again(op, op.x, keepdims=True)
    assert (changed.axes, changed.keepdims) == ((0,), True)


def test_time_grows_with_the_size():
    def chain(length: int) -> float:
        def graph(g: Graph, x: SSAValue) -> SSAValue:
            for _ in range(length):
                x = g(NegOp, g(NegOp, x))
            return x

        module = build(graph, (3,))
        start = time.process_time()
        rewrite(module, {NegOp: [undo]})
        assert names(module) == []
        return time.process_time() - start

    chain(10)
    assert chain(2000) < 40 * max(chain(200), 1e-3)

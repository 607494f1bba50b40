"""Importers of control flow, as ops with regions, and of what computes nothing: assertions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from xdsl.ir import Block, Region, SSAValue

from ...ir.dims import Dim, symbol
from ...ir.ops.control import FOREVER, LoopOp, ReturnOp, enclose, returned_types
from ...ir.ops.shape import dims_param
from ...ir.types import BOOL, I64, type_of
from ..regions import chosen
from .registry import Node, Refusal, importer

aten, higher_order = torch.ops.aten, torch.ops.higher_order

# From the index of an iteration and what is carried: whether to go on, what is carried to the next,
# and rows.
Step = Callable[[Dim, Sequence[SSAValue]], tuple[SSAValue, Sequence[Any]]]


@importer(
    *(aten._assert_async, aten._assert_tensor_metadata),
    *(aten.sym_constrain_range, aten.sym_constrain_range_for_size),
)
def assertion(node: Node) -> None:
    """Nothing: torch checked it when it traced the model."""


@importer(aten._assert_scalar)
def size_assertion(node: Node) -> None:
    """Nothing; a warning where sizes must satisfy what can not be proved for all of them."""
    condition = node.arg("self")
    if isinstance(condition, torch.SymBool) and not node.sizes.always(condition):
        text = node.sizes.text(condition)
        warnings.warn(f"the compiled model needs {text} and does not check it", stacklevel=2)


@importer(higher_order.cond)
def cond(node: Node) -> Sequence[SSAValue]:
    """One of two graphs on the same operands."""
    predicate, *graphs, operands = node.arguments["args"]
    if not isinstance(predicate, SSAValue):
        raise Refusal("sizes decide which side is taken", "let a tensor decide")
    condition = node.reshape(predicate, ())
    then, other = (_side(node, graph, operands) for graph in graphs)
    here, name = node.inner.here(), lambda: node.inner.late_symbol("count")
    results = chosen(condition, then, other, here, node.add_all, name)
    if results is None:
        raise Refusal(f"the sides give {returned_types(then)} and {returned_types(other)}")
    return results


@importer(higher_order.while_loop)
def while_loop(node: Node) -> Sequence[SSAValue]:
    """A body for as long as a condition holds of what it carries."""
    test, body, carried, captured = node.arguments["args"]
    state = _tensors(carried)

    def holds(values: Sequence[Any]) -> SSAValue:
        (condition,) = _tensors(node.inner.run(test, [*values, *captured]))
        return node.reshape(condition, ())

    def step(index: Dim, values: Sequence[SSAValue]) -> tuple[SSAValue, Sequence[Any]]:
        following = node.inner.run(body, [*values, *captured])
        return holds(_tensors(following)), following

    return _repeat(node, node.constant(FOREVER, I64), holds(state), state, step)


@importer(higher_order.scan)
def scan(node: Node) -> Sequence[SSAValue]:
    """A body for every slice along the first dim; it gives what is carried, and rows."""
    body, carried, scanned, captured = node.arguments["args"]
    length = type_of(scanned[0]).shape[0]
    always = node.constant(True, BOOL)

    def step(index: Dim, values: Sequence[SSAValue]) -> tuple[SSAValue, Sequence[Any]]:
        rows = [node.slice(x, 0, index, index + 1) for x in scanned]
        slices = [node.reshape(row, type_of(row).shape[1:]) for row in rows]
        results = node.inner.run(body, [*values, *slices, *captured])
        return node.constant(True, BOOL), results

    return _repeat(node, node.size(length), always, _tensors(carried), step, length)


def _side(node: Node, graph: fx.GraphModule, operands: Sequence[Any]) -> Block:
    with node.inner.inside(()) as block:
        block.add_op(ReturnOp(operands=[_tensors(node.inner.run(graph, operands))]))
    return block


def _repeat(
    node: Node,
    trips: SSAValue,
    condition: SSAValue,
    state: Sequence[SSAValue],
    step: Step,
    length: Dim | None = None,
) -> Sequence[SSAValue]:
    index = node.inner.late_symbol("index")
    with node.inner.inside([type_of(v) for v in state]) as block:
        again, results = step(symbol(index), block.args)
        block.add_op(ReturnOp(operands=[[again, *_tensors(results)]]))
    known = {} if length is None else {"length": dims_param((length,))[0]}
    values = [*state, *enclose(block)]
    known |= {"carried": len(state), "index": index}
    return node.add_all(LoopOp(trips, condition, *values, regions=[Region(block)], **known))


def _tensors(values: Sequence[Any]) -> list[SSAValue]:
    if not all(isinstance(v, SSAValue) for v in values):
        raise Refusal("a branch or loop takes or gives a number", "keep it a tensor")
    return list(values)

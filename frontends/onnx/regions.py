"""Branches and loops that the data decide, as ops with regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xdsl.ir import Block, Region, SSAValue

from ...ir.dims import Dim, dim_max, symbol, symbols_of
from ...ir.ops.control import FOREVER, LoopOp, ReturnOp, enclose, returned_types
from ...ir.ops.shape import ReverseOp, dims_param
from ...ir.types import BOOL, I64, TensorType, type_of
from ..regions import chosen
from .fold import elements, truth
from .node import Node, Value
from .refusal import FIX_INPUT, Refusal
from .shape import cut
from .unrolled import scanned_axes

# A limit so large is no reason to keep memory ready for it.
_MANY = 1 << 16

# From the index of an iteration and what is carried: whether to go on (None: yes), what is carried
# to the next, and rows.
Step = Callable[[Dim, Sequence[SSAValue]], tuple[Value, Sequence[Value]]]


def branched(node: Node) -> list[Value]:
    """One of two sides."""
    condition = node.reshape(node.input(), ())
    then, other = _side(node, "then_branch"), _side(node, "else_branch")
    here = node.shared.emission.block
    results = chosen(condition, then, other, here, node.add_all, node.late_symbol)
    if results is None:
        kinds = [", ".join(f"[{t}]" for t in returned_types(side)) for side in (then, other)]
        raise Refusal(
            f"the data decide between results of other ranks or dtypes: {kinds[0]} or {kinds[1]}",
            FIX_INPUT,
        )
    return list(results)


def looped(node: Node) -> list[Value]:
    """A Loop: as often as it says, as long as its condition holds."""
    body, given = node.required("body"), (node.optional(0), node.optional(1))
    trips, condition = (None if v is None else node.reshape(v, ()) for v in given)

    def step(index: Dim, state: Sequence[SSAValue]) -> tuple[Value, Sequence[Value]]:
        again, *values = node.run(body, [node.sizes(index), node.constant(True, BOOL), *state], "")
        return again, values

    count = node.constant(FOREVER, I64) if trips is None else node.cast(trips, I64)
    first = node.constant(True, BOOL) if condition is None else condition
    return list(repeated(node, count, first, [_tensor(v) for v in node.inputs[2:]], step))


def scanned(node: Node) -> list[Value]:
    """A Scan: the body for every slice."""
    first, axes = scanned_axes(node)
    trips = type_of(node.input(first)).shape[axes[0]]
    backwards = node.attribute("scan_input_directions") or [0] * len(axes)

    def step(index: Dim, state: Sequence[SSAValue]) -> tuple[Value, Sequence[Value]]:
        slices: list[SSAValue] = []
        for k, axis in enumerate(axes):
            x, place = node.input(first + k), trips - 1 - index if backwards[k] else index
            shape = type_of(x).shape
            row = cut(node, x, axis, place, place + 1)
            slices.append(node.reshape(row, (*shape[:axis], *shape[axis + 1 :])))
        return None, node.run(node.required("body"), [*state, *slices], "")

    state = [_tensor(v) for v in node.inputs[:first]]
    results = repeated(node, node.sizes(trips), node.constant(True, BOOL), state, step)
    return [*results[:first], *_turned(node, results[first:])]


def _side(node: Node, name: str) -> Block:
    with node.shared.emission.inside(()) as block:
        values = node.run(node.required(name), [], "")
        block.add_op(ReturnOp(operands=[[_tensor(v) for v in values]]))
    return block


def repeated(
    node: Node, trips: SSAValue, condition: SSAValue, state: Sequence[SSAValue], step: Step
) -> list[SSAValue]:
    """A loop: what it carries in the end, and stacks of its rows."""
    types, index = [type_of(v) for v in state], node.late_symbol("index")
    with node.shared.emission.inside(types) as block:
        again, values = step(symbol(index), block.args)
        again = node.constant(True, BOOL) if again is None else node.reshape(_tensor(again), ())
        carried = [
            _kept(node, _tensor(v), type, k)
            for k, (v, type) in enumerate(zip(values, types, strict=False))
        ]
        rows = [_row(node, _tensor(v), index) for v in values[len(types) :]]
        block.add_op(ReturnOp(operands=[[again, *carried, *rows]]))
    known = _known(trips, bool(truth(condition) and truth(again)))
    if rows and "length" not in known:
        known["count"] = node.late_symbol()
    values, region = [*state, *enclose(block)], Region(block)
    known |= {"index": index, "carried": len(state)}
    return list(node.add_all(LoopOp(trips, condition, *values, regions=[region], **known)))


def _known(trips: SSAValue, always: bool) -> dict[str, Any]:
    """How many iterations there will be, as far as that is known."""
    known = elements(trips)
    if known is None:
        return {}
    size = dim_max(known.reshape(-1)[0], 0)
    if always and size == FOREVER:
        raise Refusal("the loop never ends")
    if not always and isinstance(size, int) and size > _MANY:
        return {}
    return {"length" if always else "limit": dims_param((size,))[0]}


def _kept(node: Node, value: SSAValue, type: TensorType, number: int) -> SSAValue:
    """A value as it was carried into an iteration."""
    now = type_of(value)
    if now.size == 1 == type.size:
        value = node.reshape(value, type.shape)
    value = node.as_unclipped(value, type.shape)
    if type_of(value) != type:
        name = node.required("body").input[number + 2].name if node.proto.op_type == "Loop" else ""
        raise Refusal(
            f"the carried value {name or number} is [{type}] and becomes [{now}] in an iteration",
            f"let it keep its size, or {FIX_INPUT}",
        )
    return value


def _row(node: Node, value: SSAValue, index: str) -> SSAValue:
    """A row of the size that it has in all iterations, unless a slice is clipped in some."""
    shape = type_of(value).shape
    sizes = (node.shared.unclipped.get(d, d) if index in symbols_of(d) else d for d in shape)
    return node.as_unclipped(value, tuple(sizes))


def _turned(node: Node, stacks: Sequence[SSAValue]) -> list[Value]:
    """Stacks along the axes, and in the directions, that a Scan wants them."""
    axes = node.attribute("scan_output_axes") or [0] * len(stacks)
    backwards = node.attribute("scan_output_directions") or [0] * len(stacks)
    turned: list[Value] = []
    for stack, axis, reverse in zip(stacks, axes, backwards, strict=True):
        rank = type_of(stack).rank
        place, others = node.counted(axis, rank), list(range(1, rank))
        value = node.add(ReverseOp(stack, axes=(0,))) if reverse else stack
        turned.append(node.transpose(value, [*others[:place], 0, *others[place:]]))
    return turned


def _tensor(value: Value) -> SSAValue:
    if not isinstance(value, SSAValue):
        kind = "an empty optional" if value is None else "a sequence"
        raise Refusal(f"a branch or loop that the data decide takes or gives {kind}")
    return value

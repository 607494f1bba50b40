"""Branches and loops that the data decide, as ops with regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xdsl.ir import Block, Region, SSAValue

from ...ir.dims import dim_max
from ...ir.ops.constant import ConstantOp
from ...ir.ops.control import FOREVER, IfOp, LoopOp, ReturnOp, differences, enclose, returned_types
from ...ir.ops.elementwise import ElementwiseOp, SelectOp, SubOp
from ...ir.ops.index import GatherOp
from ...ir.ops.shape import ReverseOp, dims_param
from ...ir.structure import View
from ...ir.types import BOOL, I64, TensorType, tensor, type_of
from .fold import elements, truth
from .node import Node, Value
from .refusal import FIX_INPUT, Refusal
from .unrolled import scanned_axes

_CHEAP = 16

# From the number of an iteration and what is carried: whether to go on (None: yes), what is carried
# to the next, and rows.
Step = Callable[[SSAValue, Sequence[SSAValue]], tuple[Value, Sequence[Value]]]


def branched(node: Node) -> list[Value]:
    """One of two sides; both and a choice where that is a little arithmetic."""
    condition = node.reshape(node.input(), ())
    then, other = _side(node, "then_branch"), _side(node, "else_branch")
    pairs = differences(then, other)
    if pairs == [] and _is_cheap(then) and _is_cheap(other):
        return _selected(node, condition, then, other)
    if pairs is None:
        kinds = [", ".join(f"[{t}]" for t in returned_types(side)) for side in (then, other)]
        raise Refusal(
            f"the data decide between results of other ranks or dtypes: {kinds[0]} or {kinds[1]}",
            FIX_INPUT,
        )
    counts = tuple(node.late_symbol() for _ in pairs)
    regions = [Region(side) for side in (then, other)]
    captured = enclose(then, other)
    return list(node.add_all(IfOp(condition, *captured, counts=counts, regions=regions)))


def looped(node: Node) -> list[Value]:
    """A Loop: as often as it says, as long as its condition holds."""
    body = node.required("body")
    trips, condition = node.optional(0), node.optional(1)

    def step(number: SSAValue, state: Sequence[SSAValue]) -> tuple[Value, Sequence[Value]]:
        again, *values = node.run(body, [number, node.constant(True, BOOL), *state], "")
        return again, values

    return _repeat(
        node,
        node.constant(FOREVER, I64) if trips is None else node.cast(node.reshape(trips, ()), I64),
        node.constant(True, BOOL) if condition is None else node.reshape(condition, ()),
        [_tensor(v) for v in node.inputs[2:]],
        step,
    )


def scanned(node: Node) -> list[Value]:
    """A Scan: the body for every slice."""
    first, axes = scanned_axes(node)
    trips = node.sizes(type_of(node.input(first)).shape[axes[0]])
    backwards = node.attribute("scan_input_directions") or [0] * len(axes)

    def step(number: SSAValue, state: Sequence[SSAValue]) -> tuple[Value, Sequence[Value]]:
        slices: list[SSAValue] = []
        for k, axis in enumerate(axes):
            last = node.add(SubOp(node.add(SubOp(trips, number)), node.constant(1, I64)))
            place = last if backwards[k] else number
            slices.append(node.add(GatherOp(node.input(first + k), place, axis=axis)))
        return None, node.run(node.required("body"), [*state, *slices], "")

    state = [_tensor(v) for v in node.inputs[:first]]
    results = _repeat(node, trips, node.constant(True, BOOL), state, step)
    return [*results[:first], *_turned(node, results[first:])]


def _side(node: Node, name: str) -> Block:
    with node.shared.emission.inside(()) as block:
        values = node.run(node.required(name), [], "")
        block.add_op(ReturnOp(operands=[[_tensor(v) for v in values]]))
    return block


def _is_cheap(side: Block) -> bool:
    """Whether a side is so little arithmetic that it is not worth a branch."""
    ops = [op for op in side.ops if not isinstance(op, ConstantOp | ReturnOp)]
    plain = all(
        isinstance(op, ElementwiseOp) or isinstance(getattr(op, "structure", Block)(), View)
        for op in ops
    )
    return plain and len(ops) <= _CHEAP


def _selected(node: Node, condition: SSAValue, then: Block, other: Block) -> list[Value]:
    """Moves both sides here."""
    results: list[Sequence[SSAValue]] = []
    for side in (then, other):
        last = side.last_op
        assert last is not None
        results.append(list(last.operands))
        last.detach()
        last.erase()
        for op in list(side.ops):
            op.detach()
            node.shared.emission.block.add_op(op)
    pairs = zip(*results, strict=True)
    return [a if a is b else node.add(SelectOp(condition, a, b)) for a, b in pairs]


def _repeat(
    node: Node, trips: SSAValue, condition: SSAValue, state: list[SSAValue], step: Step
) -> list[Value]:
    types = [type_of(v) for v in state]
    with node.shared.emission.inside([tensor((), I64), *types]) as block:
        again, values = step(block.args[0], block.args[1:])
        again = node.constant(True, BOOL) if again is None else node.reshape(_tensor(again), ())
        carried = [
            _kept(node, _tensor(v), type, k)
            for k, (v, type) in enumerate(zip(values, types, strict=False))
        ]
        rows = [_tensor(v) for v in values[len(types) :]]
        block.add_op(ReturnOp(operands=[[again, *carried, *rows]]))
    sizes = _sizes(node, trips, bool(truth(condition) and truth(again))) if rows else {}
    values = [*state, *enclose(block)]
    op = LoopOp(trips, condition, *values, carried=len(state), regions=[Region(block)], **sizes)
    return list(node.add_all(op))


def _sizes(node: Node, trips: SSAValue, always: bool) -> dict[str, Any]:
    """How many rows there will be, as far as that is known."""
    known = elements(trips)
    dims = () if known is None else (dim_max(known.reshape(-1)[0], 0),)
    if dims and always:
        return {"length": dims_param(dims)[0]}
    limit = {"limit": dims_param(dims)[0]} if dims and dims[0] != FOREVER else {}
    return {"count": node.late_symbol(), **limit}


def _kept(node: Node, value: SSAValue, type: TensorType, number: int) -> SSAValue:
    """A value as it was carried into an iteration."""
    now = type_of(value)
    if now.size == 1 == type.size:
        value = node.reshape(value, type.shape)
    if type_of(value) != type:
        name = node.required("body").input[number + 2].name if node.proto.op_type == "Loop" else ""
        raise Refusal(
            f"the carried value {name or number} is [{type}] and becomes [{now}] in an iteration",
            "let it keep its size, and write into a part of it",
        )
    return value


def _turned(node: Node, stacks: Sequence[Value]) -> list[Value]:
    """Stacks along the axes, and in the directions, that a Scan wants them."""
    axes = node.attribute("scan_output_axes") or [0] * len(stacks)
    backwards = node.attribute("scan_output_directions") or [0] * len(stacks)
    turned: list[Value] = []
    for stack, axis, reverse in zip(map(_tensor, stacks), axes, backwards, strict=True):
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

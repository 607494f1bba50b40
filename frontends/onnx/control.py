"""Importers of control flow: branches that are known are taken, loops of known length unrolled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from xdsl.ir import SSAValue

from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import SelectOp
from ...ir.ops.shape import ConcatOp
from ...ir.types import BOOL, I64, tensor, type_of
from .dtypes import dtype_of
from .node import Node, Value
from .refusal import FIX_INPUT, FIX_SIZE, Refusal
from .registry import importer
from .shape import cut

_UNROLL_LIMIT = 1024


@importer("If")
def branch(node: Node) -> list[Value]:
    """The branch that is taken; or both, and a choice, where both give the same types."""
    condition = _truth(node.input())
    if condition is not None:
        taken = "then_branch" if condition else "else_branch"
        return node.run(node.required(taken), [], "")
    first = node.run(node.required("then_branch"), [], "")
    second = node.run(node.required("else_branch"), [], "")
    choice = node.reshape(node.input(), ())
    return [_chosen(node, choice, a, b) for a, b in zip(first, second, strict=True)]


@importer("Loop")
def loop(node: Node) -> list[Value]:
    """As many copies of the body as there are iterations."""
    body = node.required("body")
    trips = _UNROLL_LIMIT + 1 if node.optional(0) is None else node.integer(0)
    condition = True if node.optional(1) is None else _truth(node.input(1))
    state, stacks = list(node.inputs[2:]), _Stacks.of(node, len(node.inputs) - 2)
    count = 0
    while condition is not False and count < trips:
        if condition is None or count == _UNROLL_LIMIT:
            raise _endless(condition)
        counters = [node.constant(count, I64), node.constant(True, BOOL)]
        done, *results = node.run(body, [*counters, *state], f"{count}/")
        state = results[: len(state)]
        stacks.push(node, results[len(state) :])
        condition = _truth(done)
        count += 1
    return [*state, *stacks.joined(node, body)]


@importer("Scan", since=9)
def scan(node: Node) -> list[Value]:
    """As many copies of the body as the scanned dim is long."""
    body, scanned = node.required("body"), node.required("num_scan_inputs")
    first = len(node.inputs) - scanned
    state = list(node.inputs[:first])
    slices = [_slices(node, first, k) for k in range(scanned)]
    if len({len(s) for s in slices}) != 1:
        raise Refusal("the scanned dims have different sizes")
    stacks = _Stacks.of(node, first)
    for count, row in enumerate(zip(*slices, strict=True)):
        results = node.run(body, [*state, *row], f"{count}/")
        state = results[:first]
        stacks.push(node, results[first:])
    return [*state, *stacks.joined(node, body)]


@importer("Scan")
def batched_scan(node: Node) -> list[Value]:
    """Refused: opset 8 scans a batch of sequences of different lengths."""
    raise Refusal("Scan of opset 8 is not supported", "export with opset 9 or newer")


@dataclass
class _Stacks:
    """The outputs of a body that pile up along an axis."""

    axes: list[int]
    reverse: list[int]
    parts: list[list[SSAValue]] = field(default_factory=list)

    @staticmethod
    def of(node: Node, carried: int) -> _Stacks:
        count = len(node.proto.output) - carried
        axes = node.attribute("scan_output_axes") or [0] * count
        reverse = node.attribute("scan_output_directions") or [0] * count
        return _Stacks(list(axes), list(reverse), [[] for _ in range(count)])

    def push(self, node: Node, values: list[Value]) -> None:
        for axis, parts, value in zip(self.axes, self.parts, values, strict=True):
            if not isinstance(value, SSAValue):
                raise Refusal("a body gives a sequence in every iteration")
            shape = type_of(value).shape
            place = node.counted(axis, len(shape) + 1)
            parts.append(node.reshape(value, (*shape[:place], 1, *shape[place:])))

    def joined(self, node: Node, body: object) -> list[SSAValue]:
        rows = zip(self.axes, self.reverse, self.parts, strict=True)
        outputs = list(getattr(body, "output", ()))[-len(self.parts) :]
        results: list[SSAValue] = []
        for declared, (axis, reverse, parts) in zip(outputs, rows, strict=False):
            if not parts:
                parts = [_nothing(node, declared.type.tensor_type)]
            ordered = parts[::-1] if reverse else parts
            place = node.counted(axis, type_of(parts[0]).rank)
            results.append(node.add(ConcatOp(ordered, axis=place)))
        return results


def _nothing(node: Node, declared: object) -> SSAValue:
    """What a body of no iterations piles up: nothing, of the declared type."""
    code, shape = getattr(declared, "elem_type", 0), getattr(declared, "shape", None)
    dims = [d.dim_value for d in shape.dim] if shape is not None else []
    type = tensor((0, *dims), dtype_of(code))
    return node.constant(np.zeros((0, *dims)), type.dtype)


def _slices(node: Node, first: int, index: int) -> list[SSAValue]:
    """The slices of a scanned input, in the order of the iterations."""
    x = node.input(first + index)
    axes, directions = node.attribute("scan_input_axes"), node.attribute("scan_input_directions")
    axis = node.counted(axes[index] if axes else 0, type_of(x).rank)
    length = type_of(x).shape[axis]
    if not isinstance(length, int) or length > _UNROLL_LIMIT:
        raise Refusal(
            f"the scanned dim has size {length}; at most {_UNROLL_LIMIT} steps are unrolled",
            FIX_SIZE,
        )
    kept = tuple(d for k, d in enumerate(type_of(x).shape) if k != axis)
    parts = [node.reshape(cut(node, x, axis, k, k + 1), kept) for k in range(length)]
    return parts[::-1] if directions and directions[index] else parts


def _truth(value: Value) -> bool | None:
    """The value of a condition, where it is known."""
    if isinstance(value, SSAValue) and isinstance(value.owner, ConstantOp):
        return bool(value.owner.value.array.reshape(-1)[0])
    return None


def _chosen(node: Node, condition: SSAValue, first: Value, second: Value) -> Value:
    if isinstance(first, SSAValue) and isinstance(second, SSAValue) and first.type == second.type:
        return node.add(SelectOp(condition, first, second))
    raise Refusal(
        "the condition is computed from data, and the branches give different types",
        FIX_INPUT,
    )


def _endless(condition: bool | None) -> Refusal:
    if condition is None:
        return Refusal(
            "whether the loop goes on is computed from data",
            FIX_INPUT,
        )
    return Refusal(f"more than {_UNROLL_LIMIT} iterations are not unrolled")

"""Loops written out: as many copies of the body as there are iterations."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from xdsl.ir import SSAValue

from ...ir.ops.shape import ConcatOp
from ...ir.types import BOOL, I64, tensor, type_of
from .dtypes import dtype_of
from .fold import truth
from .node import Node, Value
from .refusal import FIX_INPUT, Refusal
from .shape import cut

COPIES_LIMIT = 1024


def loop_copies(node: Node) -> list[Value]:
    """Copies of a Loop's body, each with what the one before it gave."""
    body, trips = node.required("body"), node.integer(0)
    condition = True if node.optional(1) is None else truth(node.input(1))
    state, stacks = list(node.inputs[2:]), _Stacks.of(node, len(node.inputs) - 2)
    count = 0
    while condition is not False and count < trips:
        if condition is None:
            raise Refusal("whether the loop goes on is computed from data", FIX_INPUT)
        counters = [node.constant(count, I64), node.constant(True, BOOL)]
        done, *results = node.run(body, [*counters, *state], f"{count}/")
        state = results[: len(state)]
        stacks.push(node, results[len(state) :])
        condition = truth(done)
        count += 1
    return [*state, *stacks.joined(node, body)]


def scan_copies(node: Node) -> list[Value]:
    """Copies of a Scan's body, each for a slice of every scanned input."""
    body, (first, axes) = node.required("body"), scanned_axes(node)
    state = list(node.inputs[:first])
    slices = [_slices(node, first, k, axis) for k, axis in enumerate(axes)]
    stacks = _Stacks.of(node, first)
    for count, row in enumerate(zip(*slices, strict=True)):
        results = node.run(body, [*state, *row], f"{count}/")
        state = results[:first]
        stacks.push(node, results[first:])
    return [*state, *stacks.joined(node, body)]


def scanned_axes(node: Node) -> tuple[int, list[int]]:
    """The number of the first scanned input, and the axis of each that is scanned."""
    count = node.required("num_scan_inputs")
    first = len(node.inputs) - count
    axes = node.attribute("scan_input_axes") or [0] * count
    return first, [node.counted(a, node.type(first + k).rank) for k, a in enumerate(axes)]


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


def _slices(node: Node, first: int, index: int, axis: int) -> list[SSAValue]:
    """The slices of a scanned input, in the order of the iterations."""
    x, directions = node.input(first + index), node.attribute("scan_input_directions")
    shape = type_of(x).shape
    kept = tuple(d for k, d in enumerate(shape) if k != axis)
    parts = [node.reshape(cut(node, x, axis, k, k + 1), kept) for k in range(int(str(shape[axis])))]
    return parts[::-1] if directions and directions[index] else parts

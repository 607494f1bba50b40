"""Importers of sequences and optionals, which exist while the model is imported only."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.dims import Dim
from ...ir.ops.shape import ConcatOp
from ...ir.types import BOOL, I64, type_of
from .node import Node, Value
from .refusal import FIX_SIZE, Refusal
from .registry import importer
from .shape import parts

_LENGTH_LIMIT = 1 << 12


@importer("SequenceConstruct")
def construct(node: Node) -> list[Value]:
    """Of the operands."""
    return [list(node.every())]


@importer("SequenceEmpty")
def empty(node: Node) -> list[Value]:
    """Of nothing."""
    return [[]]


@importer("SequenceAt")
def at(node: Node) -> list[Value]:
    """One element."""
    items = _items(node)
    return [items[_position(node, 1, len(items))]]


@importer("SequenceInsert")
def insert(node: Node) -> list[Value]:
    """With one more element, at the end where no position is given."""
    items = _items(node)
    end = len(items)
    place = end if node.optional(2) is None else _position(node, 2, end + 1, wrap=end)
    return [[*items[:place], node.inputs[1], *items[place:]]]


@importer("SequenceErase")
def erase(node: Node) -> list[Value]:
    """Without one element, the last where no position is given."""
    items = _items(node)
    place = len(items) - 1 if node.optional(1) is None else _position(node, 1, len(items))
    return [[*items[:place], *items[place + 1 :]]]


@importer("SequenceLength")
def length(node: Node) -> SSAValue:
    """The number of elements."""
    return node.constant(len(_items(node)), I64)


@importer("SplitToSequence")
def split_to_sequence(node: Node) -> list[Value]:
    """Parts along ``axis``; single slices lose the dim unless ``keepdims``."""
    axis = node.axis(0)
    size, keep = node.type().shape[axis], node.attribute("keepdims", 1)
    given = node.optional(1)
    if not isinstance(size, int) or size > _LENGTH_LIMIT:
        raise Refusal(f"dim {axis} has size {size}, a fixed number is needed", FIX_SIZE)
    sizes: list[Dim] = [1] * size
    if given is not None and type_of(given).rank == 0:
        step = node.integer(1)
        sizes = [min(step, size - start) for start in range(0, size, step)]
    elif given is not None:
        sizes = list(node.dims(1) or ())
    items = parts(node, node.input(), axis, tuple(sizes)) if sizes else []
    if given is None and not keep:
        kept = tuple(d for k, d in enumerate(node.type().shape) if k != axis)
        items = [node.reshape(item, kept) for item in items]
    return [list(items)]


@importer("ConcatFromSequence")
def concat_from_sequence(node: Node) -> SSAValue:
    """One after another, or stacked along a new axis."""
    items = [item for item in _items(node) if isinstance(item, SSAValue)]
    rank = type_of(items[0]).rank
    if not node.attribute("new_axis", 0):
        return node.add(ConcatOp(items, axis=node.axis(rank=rank)))
    axis = node.axis(rank=rank + 1)
    shapes = [type_of(item).shape for item in items]
    items = [
        node.reshape(item, (*shape[:axis], 1, *shape[axis:]))
        for item, shape in zip(items, shapes, strict=True)
    ]
    return node.add(ConcatOp(items, axis=axis))


@importer("Optional")
def optional(node: Node) -> list[Value]:
    """The operand, or nothing."""
    return [node.inputs[0] if node.inputs else None]


@importer("OptionalHasElement")
def optional_has_element(node: Node) -> SSAValue:
    """Whether there is a value."""
    return node.constant(bool(node.inputs) and node.inputs[0] is not None, BOOL)


@importer("OptionalGetElement")
def optional_get_element(node: Node) -> list[Value]:
    """The value."""
    if node.inputs[0] is None:
        raise Refusal("the optional has no value")
    return [node.inputs[0]]


def _items(node: Node) -> list[Value]:
    items = node.inputs[0]
    if not isinstance(items, list):
        raise Refusal("the operand is no sequence")
    return items


def _position(node: Node, index: int, count: int, wrap: int | None = None) -> int:
    place = node.integer(index)
    place = place + (count if wrap is None else wrap) if place < 0 else place
    if not 0 <= place < count:
        raise Refusal(f"the sequence has no position {node.integer(index)}")
    return place

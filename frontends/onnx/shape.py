"""Importers of operators that change the shape and no element."""

from __future__ import annotations

from itertools import accumulate, pairwise

from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, ceildiv, floordiv, note_mismatch, product
from ...ir.errors import InvalidModelError
from ...ir.ops.shape import ConcatOp, SliceOp, dims_param
from ...ir.types import BOOL, type_of
from .node import Node, Value
from .refusal import SAME_NAME, Refusal
from .registry import importer


@importer("Identity")
def identity(node: Node) -> list[Value]:
    """The operand, which may be a sequence or an optional."""
    return [node.inputs[0]]


@importer("Dropout")
def dropout(node: Node) -> list[SSAValue]:
    """Nothing happens at inference: the mask is all true."""
    training = node.opset >= 12 and node.optional(2) is not None and any(node.dims(2) or ())
    ratio = node.known(1) if training else None
    if training and (ratio is None or ratio.any()):
        raise Refusal("dropout in training mode draws random numbers", "export in eval mode")
    x = node.input()
    mask = BOOL if node.opset >= 10 else type_of(x).dtype
    ones = [node.broadcast(node.constant(1, mask), type_of(x).shape)] if node.wants(1) else []
    return [x, *ones]


@importer("Transpose")
def transpose(node: Node) -> SSAValue:
    """The dims in the order of ``perm``; reversed when it is left out."""
    perm = node.attribute("perm", list(reversed(range(node.type().rank))))
    return node.transpose(node.input(), [node.counted(p, node.type().rank) for p in perm])


@importer("Concat")
def concat(node: Node) -> SSAValue:
    """One after another; along dim 1 where an old model does not say."""
    return node.add(ConcatOp(node.every(), axis=node.axis(1 if node.opset < 4 else None)))


@importer("Reshape")
def reshape(node: Node) -> SSAValue:
    """-1 is what is left, 0 the dim of the input (unless ``allowzero``)."""
    wanted, x = node.attribute("shape") or node.dims(1), node.type()
    copies = not node.attribute("allowzero", 0)
    shape: list[Dim] = []
    for k, d in enumerate(wanted or ()):
        if d == 0 and copies and k >= x.rank:
            raise InvalidModelError(f"node '{node.source}' copies dim {k} of {x}")
        shape.append(x.shape[k] if d == 0 and copies else d)
    if -1 in shape:
        shape[shape.index(-1)] = _what_is_left(x.shape, [d for d in shape if d != -1])
    return node.reshape(node.input(), tuple(shape))


@importer("Flatten")
def flatten(node: Node) -> SSAValue:
    """A matrix: the dims before ``axis``, and the rest."""
    x, axis = node.type(), node.attribute("axis", 1)
    axis = x.rank if axis == x.rank else node.counted(axis, x.rank)
    return node.reshape(node.input(), (product(x.shape[:axis]), product(x.shape[axis:])))


@importer("Squeeze")
def squeeze(node: Node) -> SSAValue:
    """Drops dims of size 1: all of them, or the given ones."""
    x, given = node.type(), _given_axes(node)
    dropped = {k for k, d in enumerate(x.shape) if d == 1}
    if given is not None:
        dropped = {node.counted(a, x.rank) for a in given}
    if any(x.shape[k] != 1 for k in dropped):
        raise Refusal(f"axes {sorted(dropped)} of {x} are not of size 1")
    kept = tuple(d for k, d in enumerate(x.shape) if k not in dropped)
    return node.reshape(node.input(), kept)


@importer("Unsqueeze")
def unsqueeze(node: Node) -> SSAValue:
    """Adds dims of size 1."""
    x, given = node.type(), _given_axes(node) or []
    axes = {node.counted(a, x.rank + len(given)) for a in given}
    rest = iter(x.shape)
    shape = tuple(1 if k in axes else next(rest) for k in range(x.rank + len(given)))
    return node.reshape(node.input(), shape)


@importer("Expand")
def expand(node: Node) -> SSAValue:
    """Broadcast with a shape, which may also have dims of 1 where the operand has more."""
    return node.broadcast(node.input(), common_shape(node.type().shape, node.dims(1) or ()))


@importer("Tile", since=6)
def tile(node: Node) -> SSAValue:
    """Every dim repeated: a dim beside each, broadcast, and joined."""
    x, repeats = node.type(), node.dims(1) or ()
    if len(repeats) != x.rank:
        raise InvalidModelError(f"node '{node.source}' repeats {len(repeats)} dims of {x}")
    apart = tuple(n for d in x.shape for n in (1, d))
    wide = tuple(n for r, d in zip(repeats, x.shape, strict=True) for n in (r, d))
    value = node.broadcast(node.reshape(node.input(), apart), wide)
    return node.reshape(value, tuple(r * d for r, d in zip(repeats, x.shape, strict=True)))


@importer("Split")
def split(node: Node) -> list[SSAValue]:
    """Parts along ``axis``: given by size, else equal ones with a smaller last."""
    axis = node.axis(0)
    given = node.attribute("split") or (node.dims(1) if node.opset >= 13 else None)
    return parts(node, node.input(), axis, given or _equal_parts(node, axis))


@importer("DepthToSpace")
def depth_to_space(node: Node) -> SSAValue:
    """Channels become blocks of pixels, which come first (DCR) or last (CRD) among them."""
    n, c, h, w = node.type().shape
    b = node.required("blocksize")
    column_first = node.attribute("mode", "DCR") == "CRD"
    rest = floordiv(c, b * b)
    apart = (n, rest, b, b, h, w) if column_first else (n, b, b, rest, h, w)
    perm = (0, 1, 4, 2, 5, 3) if column_first else (0, 3, 4, 1, 5, 2)
    value = node.transpose(node.reshape(node.input(), apart), perm)
    return node.reshape(value, (n, rest, h * b, w * b))


@importer("SpaceToDepth")
def space_to_depth(node: Node) -> SSAValue:
    """Blocks of pixels become channels."""
    n, c, h, w = node.type().shape
    b = node.required("blocksize")
    rows, columns = floordiv(h, b), floordiv(w, b)
    value = node.reshape(node.input(), (n, c, rows, b, columns, b))
    column_first = node.attribute("mode", "DCR") == "CRD"
    value = node.transpose(value, (0, 1, 3, 5, 2, 4) if column_first else (0, 3, 5, 1, 2, 4))
    return node.reshape(value, (n, c * b * b, rows, columns))


def _what_is_left(shape: Shape, taken: list[Dim]) -> Dim:
    """The product of ``shape`` over that of ``taken``; dims in both cancel."""
    rest: list[Dim] = []
    for d in shape:
        if d in taken:
            taken.remove(d)
        else:
            rest.append(d)
    divisor = product(taken)
    return floordiv(product(rest), divisor) if divisor != 0 else 0


def common_shape(*shapes: Shape) -> Shape:
    """The shape that all ``shapes`` broadcast to.

    Raises:
        Refusal: There is none, or it depends on the values of symbols.
    """
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    wanted = [{d for d in dims if d != 1} or {1} for dims in zip(*padded, strict=True)]
    for dims in wanted:
        if len(dims) > 1:
            names = " and ".join(sorted(map(str, dims)))
            note_mismatch(dims)
            raise Refusal(f"sizes {names} do not match", f"if they are equal, {SAME_NAME}")
    return tuple(dims.pop() for dims in wanted)


def parts(node: Node, value: SSAValue, axis: int, sizes: Shape) -> list[SSAValue]:
    """A value cut along an axis into parts of ``sizes``."""
    x = type_of(value)
    if sum(sizes[1:], sizes[0]) != x.shape[axis]:
        raise Refusal(f"parts of {', '.join(map(str, sizes))} do not make up dim {axis} of {x}")
    bounds = list(accumulate(sizes, initial=0))
    return [cut(node, value, axis, start, stop) for start, stop in pairwise(bounds)]


def cut(node: Node, value: SSAValue, axis: int, start: Dim, stop: Dim) -> SSAValue:
    """The elements from ``start`` to before ``stop`` along an axis."""
    x = type_of(value)
    if (start, stop) == (0, x.shape[axis]):
        return value
    starts: list[Dim] = [0] * x.rank
    stops = list(x.shape)
    starts[axis], stops[axis] = start, stop
    op = SliceOp(
        value, starts=dims_param(tuple(starts)), stops=dims_param(tuple(stops)), steps=(1,) * x.rank
    )
    return node.add(op)


def _equal_parts(node: Node, axis: int) -> Shape:
    size, count = node.type().shape[axis], len(node.proto.output)
    if node.attribute("num_outputs", count) != count:
        raise InvalidModelError(f"node '{node.source}' does not have num_outputs outputs")
    part = ceildiv(size, count)
    return (*(part,) * (count - 1), size - part * (count - 1))


def _given_axes(node: Node) -> list[int] | None:
    """Axes from the attribute, or from the operand that replaced it."""
    return node.attribute("axes") if node.opset < 13 else node.integers(1)

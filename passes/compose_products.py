"""Pushes products with constant matrices towards what they read, where that saves arithmetic.

    concat(a, b) W              ->   a W[:n] + b W[n:]
    resize(a) W                 ->   resize(a W)             where the resize makes a larger
    (a V + b) W                 ->   a (V W) + b W           where V W is the smaller work

All three are what linear maps may do; together they shrink the heads of segmentation networks,
which enlarge maps of several sizes, join their channels, and mix them with a 1x1 convolution. The
product is pushed through any chain of these, and of reshapes that keep the channels, if the whole
chain needs a quarter less multiplications.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.dims import Dim, Shape, substitute, symbols_of
from ..ir.dims import product as dims_product
from ..ir.op import Add, GraphOp
from ..ir.ops.conv import ConvOp
from ..ir.ops.elementwise import AddOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.resize import ResizeOp
from ..ir.ops.shape import ConcatOp, ReshapeOp, SliceOp
from ..ir.types import is_float, type_of
from .contract import Pass, Promise
from .fold_constants import placed
from .rewrite import again, rewrite
from .values import is_constant, producer, used_once

_WORTH = 0.75
_ANY_SIZE = 64  # what a symbol counts as


@dataclass(frozen=True)
class ComposeProducts(Pass):
    """Run after transposes have sunk: channels are last."""

    name = "compose-products"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Pushes every product of rows with a constant matrix as far as it pays."""
        rewrite(module, {MatmulOp: [_matrix_product], ConvOp: [_pointwise]})


@dataclass(frozen=True)
class _Way:
    """A way to compute the product of a value with a matrix.

    Attributes:
        work: Its multiplications, for a matrix of one column.
        write: Gives the product of the value with a constant matrix.
    """

    work: float
    write: Callable[[SSAValue, Add], SSAValue]


def _matrix_product(op: MatmulOp, add: Add) -> SSAValue | None:
    if not is_constant(op.y) or type_of(op.y).rank != 2 or not is_float(type_of(op.y).dtype):
        return None
    return _pushed(op, op.x, op.y, add)


def _pointwise(op: ConvOp, add: Add) -> SSAValue | None:
    """A convolution that mixes channels only is a product."""
    *sides, channels, filters = type_of(op.w).shape
    plain = {*sides, *op.strides, op.groups} == {1} and not any(op.pads)
    if not plain or not is_constant(op.w) or not is_float(type_of(op.w).dtype):
        return None
    return _pushed(op, op.x, placed(ReshapeOp.to(op.w, (channels, filters)), add), add)


def _pushed(op: GraphOp, value: SSAValue, matrix: SSAValue, add: Add) -> SSAValue | None:
    columns, work = _count(type_of(matrix).shape[1:]), _direct(value).work
    if not columns or not work:
        return None
    way = _best(value, columns)
    if way.work > _WORTH * work:
        return None
    return way.write(matrix, add)


def _best(value: SSAValue, columns: int) -> _Way:
    """The way with the least work to multiply ``value`` by a matrix of so many columns."""
    ways = [_direct(value)]
    if used_once(value):
        found = (
            _through_concat(value, columns),
            _through_reshape(value, columns),
            _through_resize(value, columns),
            _into_layer(value, columns),
        )
        ways += [way for way in found if way is not None]
    return min(ways, key=lambda way: way.work)


def _direct(value: SSAValue) -> _Way:
    work = _count(type_of(value).shape)
    return _Way(work, lambda matrix, add: add(MatmulOp(value, matrix)))


def _through_concat(value: SSAValue, columns: int) -> _Way | None:
    joined = producer(value, ConcatOp)
    if joined is None or joined.axis != type_of(value).rank - 1:
        return None
    parts = [_best(operand, columns) for operand in joined.operands]

    def write(matrix: SSAValue, add: Add) -> SSAValue:
        total, first = None, 0
        for part, operand in zip(parts, joined.operands, strict=True):
            size = _static(type_of(operand).shape[-1])
            rows = SliceOp(matrix, starts=(first, 0), stops=(first + size, columns), steps=(1, 1))
            term = part.write(placed(rows, add), add)
            total, first = term if total is None else add(AddOp(total, term)), first + size
        assert total is not None
        return total

    return _Way(sum(part.work for part in parts), write)


def _through_reshape(value: SSAValue, columns: int) -> _Way | None:
    """Where the channels stay."""
    reshape = producer(value, ReshapeOp)
    shape = type_of(value).shape
    if reshape is None or type_of(reshape.x).shape[-1:] != shape[-1:]:
        return None
    inner = _best(reshape.x, columns)

    def write(matrix: SSAValue, add: Add) -> SSAValue:
        result = inner.write(matrix, add)
        return add(ReshapeOp.to(result, (*shape[:-1], *type_of(result).shape[-1:])))

    return _Way(inner.work, write)


def _through_resize(value: SSAValue, columns: int) -> _Way | None:
    """Where results are sums of elements of their own channel."""
    resize = producer(value, ResizeOp)
    if resize is None or type_of(value).rank - 1 in resize.axes:
        return None
    if resize.coordinates == "tf_crop_and_resize":
        return None
    inner = _best(resize.x, columns)
    return _Way(inner.work, lambda matrix, add: add(again(resize, inner.write(matrix, add))))


def _into_layer(value: SSAValue, columns: int) -> _Way | None:
    """Where what is read is a product itself, perhaps with a bias."""
    biased = producer(value, AddOp)
    layer = (biased.x if biased else value).owner
    if not isinstance(layer, MatmulOp | ConvOp) or not used_once(layer.results[0]):
        return None
    weight, shape = layer.operands[1], type_of(layer.operands[1]).shape
    if not is_constant(weight) or getattr(layer, "groups", 1) != 1 or not _is_bias(biased, shape):
        return None
    if isinstance(layer, MatmulOp) and len(shape) != 2:
        return None
    rows = _count(type_of(value).shape[:-1])

    def write(matrix: SSAValue, add: Add) -> SSAValue:
        merged = add(again(layer, layer.operands[0], placed(MatmulOp(weight, matrix), add)))
        if biased is None:
            return merged
        row = placed(ReshapeOp.to(biased.y, (1, *shape[-1:])), add)
        shift = placed(MatmulOp(row, matrix), add)
        return add(AddOp(merged, placed(ReshapeOp.to(shift, type_of(matrix).shape[1:]), add)))

    # What the layer itself needs now is saved.
    saved = _count(shape[-1:]) / columns
    return _Way(rows * _count(shape[:-1]) * (1 - saved), write)


def _is_bias(biased: GraphOp | None, weight: Shape) -> bool:
    """Whether what is added is one number for each channel, or nothing."""
    if biased is None:
        return True
    bias = type_of(biased.operands[1])
    return (
        is_constant(biased.operands[1])
        and bias.shape[-1:] == weight[-1:]
        and bias.size == weight[-1]
    )


def _count(shape: Shape) -> int:
    size = dims_product(shape)
    return _static(substitute(size, dict.fromkeys(symbols_of(size), _ANY_SIZE)))


def _static(dim: Dim) -> int:
    assert isinstance(dim, int)
    return dim

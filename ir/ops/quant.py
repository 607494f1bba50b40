"""Quantization: numbers of few bits with a scale, for a whole tensor, along dims, or for blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import ml_dtypes
import numpy as np
from xdsl.irdl import operand_def, opt_operand_def, result_def

from .. import scalar as s
from ..dims import Dim, ceildiv, floordiv, mod
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Map
from ..symbols import known_size
from ..types import F32, I32, TensorType, bit_width, is_float, is_integer, tensor
from .constant import ConstantOp
from .reduce import accumulator


class ScaledOp(GraphOp):
    """Base: x with a scale, and a zero point of the same shape (0 without it).

    The granularity is in the shape of the scale: a scalar belongs to all of x; else it has the
    rank of x, and along each dim as many entries as x has blocks there. One entry is one block,
    as many entries as elements are blocks of one; blocks of other sizes that do not divide a dim
    evenly are given by ``blocks``, one size a dim (the last block may be smaller).
    """

    x = operand_def(TensorType)
    scale = operand_def(TensorType)
    zero_point = opt_operand_def(TensorType)
    blocks = param()
    result = result_def(TensorType)

    def check(self, storage: np.dtype) -> None:
        """What holds for both; ``storage`` is the dtype of few bits."""
        x, scale = self.operand_type(0), self.operand_type(1)
        if not is_float(scale.dtype):
            raise self.fail("the scale must be of a float dtype")
        if len(self.operands) > 2 and self.operand_type(2) != scale.with_dtype(storage):
            raise self.fail(f"the zero point must be {scale.with_dtype(storage)}")
        if scale.rank not in (0, x.rank):
            raise self.fail(f"the scale must be a scalar or have {x.rank} dims")
        if self.blocks is not None and (len(self.blocks) != x.rank or min(self.blocks) < 1):
            raise self.fail(f"blocks {list(self.blocks)} must be {x.rank} positive sizes")
        for k in range(scale.rank):
            size, count = x.shape[k], scale.shape[k]
            if count not in (1, size) and ceildiv(size, self.block(k)) != count:
                raise self.fail(f"dim {k} has {size} elements: no {count} blocks; give blocks")

    def block(self, k: int) -> Dim:
        """How many elements of dim k share a scale, the last block aside."""
        size, count = self.operand_type(0).shape[k], self.operand_type(1).shape[k]
        if count == size:
            return 1
        if count == 1:
            return size
        if self.blocks is not None:
            return self.blocks[k]
        if mod(size, count) != 0:
            raise self.fail(f"{size} elements are not evenly {count} blocks: give blocks")
        return floordiv(size, count)

    def wide(self) -> np.dtype:
        """The dtype to compute in: at least f32."""
        floats = [
            t.dtype for t in (self.operand_type(0), self.operand_type(1)) if is_float(t.dtype)
        ]
        return np.result_type(F32, *(accumulator(d) for d in floats))

    def of_block(self, operand: int, i: Indices) -> s.Scalar:
        """The scale (1) or zero point (2) of an element of x."""
        type, owner = self.operand_type(operand), self.operands[operand].owner
        if type.size == 1 and isinstance(owner, ConstantOp):
            return s.const(float(owner.value.array.reshape(-1)[0]), self.wide())
        where = [
            0 if count == 1 else i[k] // s.size(self.block(k)) for k, count in enumerate(type.shape)
        ]
        return s.cast(s.load(operand, where, type.dtype), self.wide())

    def spread(self, values: np.ndarray) -> np.ndarray:
        """The scale or zero point for every element of x; 1 where one is for all."""
        return spread(values, self.known_blocks()).astype(self.wide())

    def known_blocks(self) -> list[tuple[int, int]]:
        """Of each dim of the scale, how many elements x has there, and how many share a scale."""
        x, rank = self.operand_type(0), self.operand_type(1).rank
        return [(known_size(x.shape[k]), known_size(self.block(k))) for k in range(rank)]


@graph_op
class QuantizeOp(ScaledOp):
    """``x / scale + zero_point`` in the dtype ``to``: ONNX's QuantizeLinear.

    Integers are rounded, halves to even, and saturate; NaN becomes the least one. Floats of 8 and
    fewer bits saturate at the largest finite number, unless ``saturate`` is false.

    ``%r = "mlc.quantize"(%x, %scale, %zero) <{to = #mlc.param<i8>}> : …``
    """

    name = "mlc.quantize"
    to = param()
    saturate = param(True)
    LARGEST: ClassVar[int] = 16

    def infer(self) -> TensorType:
        """The shape of x in the dtype ``to``."""
        x = self.operand_type(0)
        if not is_float(x.dtype) and not is_integer(x.dtype):
            raise self.fail("x must hold numbers")
        narrow = bit_width(self.to) < self.LARGEST if is_float(self.to) else is_integer(self.to)
        if not narrow or bit_width(self.to) > self.LARGEST:
            raise self.fail("the target must be integers of at most 16 bits or floats of fewer")
        self.check(self.to)
        if is_float(self.to) and len(self.operands) > 2:
            raise self.fail("floats have no zero point")
        return x.with_dtype(self.to)

    def reference(
        self, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None = None
    ) -> np.ndarray:
        """Division, rounding, limits."""
        with np.errstate(all="ignore"):
            value = x.astype(self.wide()) / self.spread(scale)
            if is_float(self.to):
                kept = np.clip(value, *self._limits()) if self.saturate else value
                return kept.astype(self.to)
            value = np.rint(value)
            if zero_point is not None:
                value = value + self.spread(zero_point)
            low, high = self._limits()
            return np.where(value > low, np.minimum(value, high), low).astype(self.to)

    def structure(self) -> Map:
        """A Map of one division and the limits."""

        def body(i: Indices) -> s.Scalar:
            x = self.operand_type(0)
            value = _divided(s.cast(s.load(0, i, x.dtype), self.wide()), self.of_block(1, i))
            low, high = self._limits()
            if is_float(self.to):
                kept = s.maximum(s.minimum(value, high), low) if self.saturate else value
                return s.cast(kept, self.to)
            # Comparisons that take NaN for the limit, so that the conversion is always defined.
            zero = self.of_block(2, i) if len(self.operands) > 2 else s.const(0, self.wide())
            low, high = _less(low, zero), _less(high, zero)
            value = s.select(value > low, value, low)
            value = s.unary("round", s.select(value < high, value, high))
            return s.cast(s.cast(value, I32) + _whole(zero), self.to)

        return Map(body)

    def _limits(self) -> tuple[float, float]:
        info = ml_dtypes.finfo(self.to) if is_float(self.to) else ml_dtypes.iinfo(self.to)
        return float(info.min), float(info.max)


@graph_op
class DequantizeOp(ScaledOp):
    """``(x - zero_point) * scale``: ONNX's DequantizeLinear.

    The result is of the float dtype ``to``, or else of the scale's: a scale of f16 is stored in
    half the bytes whatever is decoded.

    ``%r = "mlc.dequantize"(%x, %scale, %zero) <{blocks = #mlc.param<[1, 32]>}> : …``
    """

    name = "mlc.dequantize"
    to = param()

    def infer(self) -> TensorType:
        """The shape of x in the dtype of the result."""
        x = self.operand_type(0)
        self.check(x.dtype)
        if self.to is not None and not is_float(self.to):
            raise self.fail("the target must be a float dtype")
        return x.with_dtype(self._decoded())

    def reference(
        self, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None = None
    ) -> np.ndarray:
        """The definition, in at least f32."""
        value = x.astype(self.wide())
        if zero_point is not None:
            value = value - self.spread(zero_point)
        with np.errstate(all="ignore"):
            return (value * self.spread(scale)).astype(self._decoded())

    def structure(self) -> Map:
        """A Map of one product."""

        def body(i: Indices) -> s.Scalar:
            value = s.cast(s.load(0, i, self.operand_type(0).dtype), self.wide())
            if len(self.operands) > 2:
                value = value - self.of_block(2, i)
            return s.cast(value * self.of_block(1, i), self._decoded())

        return Map(body)

    def _decoded(self) -> np.dtype:
        return self.to or self.operand_type(1).dtype


@graph_op
class UnpackOp(GraphOp):
    """``size`` integers of the dtype ``to`` for each row of bytes, the first in the lowest bits.

    ``%r = "mlc.unpack"(%x) <{to = #mlc.param<i4>, size = #mlc.param<7>}> : [2, 4] ui8 -> …``
    """

    name = "mlc.unpack"
    x = operand_def(TensorType)
    to = param()
    size = param()
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The shape of x with ``size`` as the last dim."""
        x = self.operand_type(0)
        if x.dtype != np.uint8 or x.rank == 0:
            raise self.fail("x must be rows of ui8")
        if not is_integer(self.to) or bit_width(self.to) not in (2, 4):
            raise self.fail("the target must be integers of 2 or 4 bits")
        if x.shape[-1] != ceildiv(self.size, self._count()):
            raise self.fail(f"{x.shape[-1]} bytes are not those of {self.size} {self.to}")
        return tensor((*x.shape[:-1], self.size), self.to)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Shifts and masks."""
        bits = bit_width(self.to)
        parts = [(x >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
        whole = np.stack(parts, -1).reshape(*x.shape[:-1], -1)
        return whole[..., : self.size].astype(self.to)

    def structure(self) -> Map:
        """A Map of a shift, which leaves the bits above to the conversion."""

        def body(i: Indices) -> s.Scalar:
            count, last = self._count(), i[-1]
            byte = s.load(0, (*i[:-1], last // count), self.operand_type(0).dtype)
            shift = s.cast((last % count) * bit_width(self.to), byte.dtype)
            mask = s.const((1 << bit_width(self.to)) - 1, byte.dtype)
            return s.cast(s.binary("and", s.binary("shr", byte, shift), mask), self.to)

        return Map(body)

    def _count(self) -> int:
        return 8 // bit_width(self.to)


def spread(values: np.ndarray, blocks: Sequence[tuple[int, int]]) -> np.ndarray:
    """Scales or zero points for every element, 1 along dims where one is for all.

    Args:
        values: One for each block.
        blocks: Of each dim, how many elements there are, and how many of them are a block.
    """
    for k, ((size, block), count) in enumerate(zip(blocks, values.shape, strict=True)):
        if block != size:
            values = np.take(values, np.arange(size) // block if count else [], k)
    return values


def packed(values: np.ndarray) -> np.ndarray:
    """Integers of 2 or 4 bits as rows of bytes, so that ``UnpackOp`` gives them back."""
    bits = bit_width(values.dtype)
    count = 8 // bits
    codes = values.astype(np.int8).view(np.uint8) & ((1 << bits) - 1)
    fill = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % count)]
    parts = np.pad(codes, fill).reshape(*values.shape[:-1], -1, count)
    shifts = np.arange(count, dtype=np.uint8) * np.uint8(bits)
    return np.bitwise_or.reduce(parts << shifts, -1)


def _divided(value: s.Scalar, by: s.Scalar) -> s.Scalar:
    return value if by.op == "const" and by.attr == 1 else value / by


def _less(limit: float, zero: s.Scalar) -> s.Scalar:
    """A limit before the zero point is added."""
    if zero.op == "const":
        return s.const(limit - zero.attr, zero.dtype)
    return s.const(limit, zero.dtype) - zero


def _whole(zero: s.Scalar) -> s.Scalar:
    return s.const(int(zero.attr), I32) if zero.op == "const" else s.cast(zero, I32)

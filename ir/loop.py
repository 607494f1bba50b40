"""The loop level's own dialect: strided access to flat buffers, and register tiles.

A buffer is ``memref<?xT>``: a pointer to T without a descriptor. A tile is a static n-D
``vector``; its innermost dim becomes machine vectors, its outer dims are unrolled.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    BoolAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    StringAttr,
    UnitAttr,
    VectorType,
    i1,
)
from xdsl.ir import Attribute, Dialect, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    var_operand_def,
)


def buffer(element: Attribute) -> MemRefType:
    """The type of a flat buffer of ``element``."""
    return MemRefType(element, [-1])


def tile(shape: Sequence[int], element: Attribute) -> VectorType:
    """The type of a register tile."""
    return VectorType(element, shape)


@irdl_op_definition
class LoadOp(IRDLOperation):
    """Element (i, j) of the tile is ``buffer[offset + i*strides[0] + j*strides[1]]``.

    The innermost stride is 1 (a vector load) or 0 (one element, repeated). A scalar result has
    no strides.
    """

    name = "tile.load"
    source = operand_def(MemRefType)
    offset = operand_def()
    strides = var_operand_def()
    result = result_def()

    def __init__(
        self, source: SSAValue, offset: SSAValue, strides: Sequence[SSAValue], type: Attribute
    ):
        super().__init__(operands=[source, offset, list(strides)], result_types=[type])


@irdl_op_definition
class StoreOp(IRDLOperation):
    """Writes a tile, or a scalar, where ``tile.load`` would read it; the innermost stride is 1.

    With ``past_caches`` it goes to memory straight, for what nobody reads soon: machine vectors lie
    at borders of their size, and others see them after a ``tile.fence``.
    """

    name = "tile.store"
    past_caches = opt_prop_def(UnitAttr)
    value = operand_def()
    target = operand_def(MemRefType)
    offset = operand_def()
    strides = var_operand_def()

    def __init__(
        self,
        value: SSAValue,
        target: SSAValue,
        offset: SSAValue,
        strides: Sequence[SSAValue],
        past_caches: bool = False,
    ):
        properties = {"past_caches": UnitAttr()} if past_caches else {}
        super().__init__(operands=[value, target, offset, list(strides)], properties=properties)


@irdl_op_definition
class AlignedOp(IRDLOperation):
    """Whether a buffer begins where a machine vector may be stored past the caches."""

    name = "tile.aligned"
    source = operand_def(MemRefType)
    result = result_def(i1)

    def __init__(self, source: SSAValue):
        super().__init__(operands=[source], result_types=[i1])


@irdl_op_definition
class FenceOp(IRDLOperation):
    """What was stored before is seen before what is stored after."""

    name = "tile.fence"


@irdl_op_definition
class FmaOp(IRDLOperation):
    """``accumulator + a * b``, rounded once; sizes 1 of a and b are repeated.

    With a ``vector<6x1xf32>``, b ``vector<1x64xf32>`` it is one step of a matrix product.
    """

    name = "tile.fma"
    a = operand_def(VectorType)
    b = operand_def(VectorType)
    accumulator = operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, a: SSAValue, b: SSAValue, accumulator: SSAValue):
        super().__init__(operands=[a, b, accumulator], result_types=[accumulator.type])


@irdl_op_definition
class DotOp(IRDLOperation):
    """``accumulator`` plus sums of products of narrow neighbours, as many as fill a word.

    With a ``vector<6x4xi8>`` without sign, b ``vector<1x64xi32>`` whose words are four bytes with
    sign, it is four steps of a matrix product, summed in i32; with a ``vector<6x2xbf16>``, b of
    words of two bf16, it is two, summed in f32. Columns of a that are left out are zeros.
    """

    name = "tile.dot"
    a = operand_def(VectorType)
    b = operand_def(VectorType)
    accumulator = operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, a: SSAValue, b: SSAValue, accumulator: SSAValue):
        super().__init__(operands=[a, b, accumulator], result_types=[accumulator.type])


@irdl_op_definition
class DotWordsOp(IRDLOperation):
    """``accumulator`` plus, for each word of i32, the products of its fields in a and in b.

    Of four fields, bytes, those of a are without sign, those of b with one; both fields of 16 bits
    are with one. Sizes 1 of a and b are repeated.
    """

    name = "tile.dot_words"
    fields = prop_def(IntegerAttr)
    a = operand_def(VectorType)
    b = operand_def(VectorType)
    accumulator = operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, a: SSAValue, b: SSAValue, accumulator: SSAValue, fields: int):
        super().__init__(
            operands=[a, b, accumulator],
            properties={"fields": IntegerAttr(fields, 64)},
            result_types=[accumulator.type],
        )


@irdl_op_definition
class NearestOp(IRDLOperation):
    """The integer nearest to a float, halves to even; of a float beyond the integers, anything."""

    name = "tile.nearest"
    source = operand_def()
    result = result_def()


@irdl_op_definition
class SaturateOp(IRDLOperation):
    """The bytes, with or without sign, that are nearest to the i32 of a tile."""

    name = "tile.saturate"
    signed = prop_def(BoolAttr)
    source = operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, source: SSAValue, signed: bool):
        assert isinstance(source.type, VectorType)
        super().__init__(
            operands=[source],
            result_types=[tile(source.type.get_shape(), IntegerType(8))],
            properties={"signed": BoolAttr.from_bool(signed)},
        )


@irdl_op_definition
class InterleaveOp(IRDLOperation):
    """Words of four bytes, one from each of four rows of ``vector<1xNxi8>``."""

    name = "tile.interleave"
    rows = var_operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, rows: Sequence[SSAValue]):
        first = rows[0].type
        assert isinstance(first, VectorType)
        super().__init__(
            operands=[list(rows)], result_types=[tile(first.get_shape(), IntegerType(32))]
        )


@irdl_op_definition
class AlternateOp(IRDLOperation):
    """The elements of several rows of ``vector<1xN>`` in turn, in one row."""

    name = "tile.alternate"
    rows = var_operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, rows: Sequence[SSAValue]):
        first = rows[0].type
        assert isinstance(first, VectorType)
        *_, width = first.get_shape()
        wide = tile((len(rows) * width,), first.get_element_type())
        super().__init__(operands=[list(rows)], result_types=[wide])


@irdl_op_definition
class RemfOp(IRDLOperation):
    """The remainder of a float division, with the sign of the dividend (C's fmod)."""

    name = "tile.remf"
    a = operand_def()
    b = operand_def()
    result = result_def()


@irdl_op_definition
class BroadcastOp(IRDLOperation):
    """A scalar in every element of a tile, or a tile with its sizes of 1 repeated."""

    name = "tile.broadcast"
    source = operand_def()
    result = result_def(VectorType)


@irdl_op_definition
class IotaOp(IRDLOperation):
    """A tile of ``index`` whose element is its own position along dim ``axis``."""

    name = "tile.iota"
    axis = prop_def(IntegerAttr)
    result = result_def(VectorType)

    def __init__(self, type: Attribute, axis: int):
        super().__init__(properties={"axis": IntegerAttr(axis, 64)}, result_types=[type])


@irdl_op_definition
class GatherOp(IRDLOperation):
    """Every element from a position of its own: ``buffer[offsets[i]]``."""

    name = "tile.gather"
    source = operand_def(MemRefType)
    offsets = operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, source: SSAValue, offsets: SSAValue, type: Attribute):
        super().__init__(operands=[source, offsets], result_types=[type])


@irdl_op_definition
class LookupOp(IRDLOperation):
    """The bytes of a table of 256 that the bytes of a tile number."""

    name = "tile.lookup"
    table = operand_def(MemRefType)
    codes = operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, table: SSAValue, codes: SSAValue):
        super().__init__(operands=[table, codes], result_types=[codes.type])


@irdl_op_definition
class TransposeOp(IRDLOperation):
    """A square tile with rows and columns exchanged; its side is a machine vector of f32."""

    name = "tile.transpose"
    source = operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, source: SSAValue):
        super().__init__(operands=[source], result_types=[source.type])


@irdl_op_definition
class StackOp(IRDLOperation):
    """Tiles of one row each, one below the other: a name for registers, no code."""

    name = "tile.stack"
    rows = var_operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, rows: Sequence[SSAValue]):
        first = rows[0].type
        assert isinstance(first, VectorType)
        shape = (len(rows), *first.get_shape()[1:])
        super().__init__(
            operands=[list(rows)], result_types=[tile(shape, first.get_element_type())]
        )


@irdl_op_definition
class ReduceOp(IRDLOperation):
    """All elements of a tile combined to a scalar.

    ``combine`` is a key of COMBINE, or ``umax`` or ``umin`` of integers without a sign.
    """

    name = "tile.reduce"
    combine = prop_def(StringAttr)
    source = operand_def(VectorType)
    result = result_def()

    def __init__(self, combine: str, source: SSAValue):
        assert isinstance(source.type, VectorType)
        super().__init__(
            operands=[source],
            properties={"combine": StringAttr(combine)},
            result_types=[source.type.get_element_type()],
        )


@irdl_op_definition
class SumRowsOp(IRDLOperation):
    """The sums of the rows of a square tile, in a row; its side is a machine vector of f32."""

    name = "tile.sum_rows"
    source = operand_def(VectorType)
    result = result_def(VectorType)

    def __init__(self, source: SSAValue):
        assert isinstance(source.type, VectorType)
        rows, _ = source.type.get_shape()
        result = tile((1, rows), source.type.get_element_type())
        super().__init__(operands=[source], result_types=[result])


@irdl_op_definition
class RecastOp(IRDLOperation):
    """The same memory as elements of another type."""

    name = "tile.recast"
    source = operand_def(MemRefType)
    result = result_def(MemRefType)


@irdl_op_definition
class PrefetchOp(IRDLOperation):
    """Asks for the cache line of ``buffer[offset]``, which may be past the buffer's end.

    ``writes`` says that it will be written, ``near`` that it shall come to the smallest cache too.
    """

    name = "tile.prefetch"
    source = operand_def(MemRefType)
    offset = operand_def()
    writes = prop_def(BoolAttr)
    near = prop_def(BoolAttr)

    def __init__(
        self, source: SSAValue, offset: SSAValue, writes: bool = False, near: bool = False
    ):
        properties = {"writes": BoolAttr.from_bool(writes), "near": BoolAttr.from_bool(near)}
        super().__init__(operands=[source, offset], properties=properties)


@irdl_op_definition
class AllocaOp(IRDLOperation):
    """Scratch memory of the function for ``count`` elements, aligned to 64 bytes."""

    name = "tile.alloca"
    count = prop_def(IntegerAttr)
    result = result_def(MemRefType)

    def __init__(self, count: int, element: Attribute):
        super().__init__(
            properties={"count": IntegerAttr(count, 64)}, result_types=[buffer(element)]
        )


@irdl_op_definition
class MallocOp(IRDLOperation):
    """Memory from the heap for ``count`` elements, until ``tile.free``."""

    name = "tile.malloc"
    count = operand_def()
    result = result_def(MemRefType)

    def __init__(self, count: SSAValue, element: Attribute):
        super().__init__(operands=[count], result_types=[buffer(element)])


@irdl_op_definition
class FreeOp(IRDLOperation):
    """Gives memory back to the heap."""

    name = "tile.free"
    source = operand_def(MemRefType)

    def __init__(self, source: SSAValue):
        super().__init__(operands=[source])


Tile = Dialect(
    "tile",
    [
        *(LoadOp, StoreOp, AlignedOp, FenceOp, FmaOp, DotOp, DotWordsOp, RemfOp, BroadcastOp),
        *(NearestOp, SaturateOp, InterleaveOp, AlternateOp),
        *(IotaOp, GatherOp, LookupOp, TransposeOp, StackOp, ReduceOp, SumRowsOp),
        *(AllocaOp, MallocOp, FreeOp, PrefetchOp, RecastOp),
    ],
)

"""Looks rows up in a table as it is stored, and decodes what was found.

%t = "mlc.dequantize"(%codes, %scale)         %c = "mlc.gather"(%codes, %i)
%y = "mlc.gather"(%t, %i)                ->   %s = "mlc.gather"(%scale, %i)
                                              %y = "mlc.dequantize"(%c, %s)

Codes of fewer than 8 bits become rows of bytes, which are unpacked when they are found.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.data import DataAttr
from ..ir.dims import ceildiv
from ..ir.op import Add
from ..ir.ops.constant import ConstantOp
from ..ir.ops.index import GatherOp
from ..ir.ops.quant import DequantizeOp, UnpackOp, packed
from ..ir.ops.shape import ReshapeOp
from ..ir.types import DTYPES, bit_width, tensor, type_of
from .contract import Pass, Promise
from .rewrite import again, rewrite
from .values import is_constant, producer

_BYTE = 8


@dataclass(frozen=True)
class DecodeRows(Pass):
    """Concerns tables whose rows do not share scales."""

    name = "decode-rows"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Gathers before it decodes."""
        rewrite(module, {GatherOp: [_decoded_later]})


def _decoded_later(op: GatherOp, add: Add) -> SSAValue | None:
    table = producer(op.x, DequantizeOp)
    if table is None or not all(is_constant(v) for v in table.operands):
        return None
    if any(_shared(v, table, op.axis) for v in table.operands[1:]):
        return None
    axis, count = op.axis, type_of(op.indices).rank
    blocks = table.blocks and (*table.blocks[:axis], *(1,) * count, *table.blocks[axis + 1 :])
    others = (_found(v, op, add) for v in table.operands[1:])
    return add(
        again(table, _codes(table.x, op, add), *others, **({"blocks": blocks} if blocks else {}))
    )


def _shared(value: SSAValue, table: DequantizeOp, axis: int) -> bool:
    """Whether some rows share a scale, others not."""
    shape = type_of(value).shape
    return bool(shape) and shape[axis] not in (1, type_of(table.x).shape[axis])


def _codes(codes: SSAValue, op: GatherOp, add: Add) -> SSAValue:
    """The codes that are looked up; in bytes where a code is less."""
    type = type_of(codes)
    bits = bit_width(type.dtype)
    if bits not in (2, 4) or op.axis == type.rank - 1:
        return add(again(op, codes, op.indices))
    assert isinstance(codes.owner, ConstantOp)
    data, last = codes.owner.value, type.shape[-1]
    shape = (*type.shape[:-1], ceildiv(last * bits, _BYTE))
    bytes = DataAttr.lazy(tensor(shape, DTYPES["ui8"]), lambda: packed(data.array))
    found = add(again(op, add(ConstantOp(value=bytes)), op.indices))
    return add(UnpackOp(found, to=type.dtype, size=last))


def _found(value: SSAValue, op: GatherOp, add: Add) -> SSAValue:
    """The scales or zero points of what is looked up."""
    shape = type_of(value).shape
    if not shape:
        return value
    if shape[op.axis] != 1 or type_of(op.x).shape[op.axis] == 1:
        return add(again(op, value, op.indices))
    ones = (1,) * type_of(op.indices).rank
    return add(ReshapeOp.to(value, (*shape[: op.axis], *ones, *shape[op.axis + 1 :])))

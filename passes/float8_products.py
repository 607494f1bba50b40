"""Multiplies floats of 8 bits as they are stored, and scales afterwards.

%a = "mlc.dequantize"(%x, %s)        %p = "mlc.matmul"(%x, %w) <{to = f32}>
%b = "mlc.dequantize"(%w, %t)   ->   %q = "mlc.mul"(%p, %s)
%y = "mlc.matmul"(%a, %b)            %y = "mlc.mul"(%q, %t)

Products of two such floats are exact in f32. Scales may be those of rows of x and columns of w.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.op import Add
from ..ir.ops.elementwise import CastOp, MulOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.quant import DequantizeOp
from ..ir.types import DTYPES, F32, type_of
from .contract import Pass, Promise
from .rewrite import rewrite
from .values import producer

_FLOAT8 = DTYPES["f8E4M3FN"]


@dataclass(frozen=True)
class Float8Products(Pass):
    """Concerns f8E4M3FN, which GPUs multiply."""

    name = "float8-products"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Moves scales behind the products."""
        rewrite(module, {MatmulOp: [_scaled_later]})


def _scaled_later(op: MatmulOp, add: Add) -> SSAValue | None:
    x, w = producer(op.x, DequantizeOp), producer(op.y, DequantizeOp)
    if x is None or w is None or op.to is not None:
        return None
    if not _is_constant_along(x, -1) or not _is_constant_along(w, -2):
        return None
    total = add(MatmulOp(x.x, w.x, to=F32))
    for scale in (x.scale, w.scale):
        wide = scale if type_of(scale).dtype == F32 else add(CastOp(scale, to=F32))
        total = add(MulOp(total, wide))
    dtype = type_of(op.result).dtype
    return total if dtype == F32 else add(CastOp(total, to=dtype))


def _is_constant_along(decode: DequantizeOp, depth: int) -> bool:
    """Whether floats of 8 bits have one scale along their depth, and single ones elsewhere."""
    codes, scale = type_of(decode.x), type_of(decode.scale)
    if codes.dtype != _FLOAT8 or scale.dtype.itemsize > F32.itemsize:
        return False
    if not scale.rank:
        return True
    single = all(count in (1, size) for count, size in zip(scale.shape, codes.shape, strict=True))
    return single and scale.shape[depth] == 1

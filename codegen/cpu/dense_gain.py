"""How many times faster than a plain sum of floats a dense product is: what others have to beat."""

from __future__ import annotations

from ...ir.dims import product as dims_product
from ...ir.op import GraphOp
from ...ir.ops.conv import ConvOp
from ...ir.ops.matmul import MatmulOp
from ...ir.types import F32, type_of
from .convolution import gain, is_constant
from .target import CpuTarget
from .templates import strassen

# Products of bf16 by those of f32, in the same time.
_NARROW = 2.0


def dense_gain(root: GraphOp, target: CpuTarget) -> float:
    """By estimate: of Winograd's, Strassen's or narrow products with constant weights, or 1."""
    if not isinstance(root, MatmulOp | ConvOp) or type_of(root.result).dtype != F32:
        return 1.0
    if not is_constant(root.operands[1]):
        return 1.0
    winograd = gain(root, target) if isinstance(root, ConvOp) else 1.0
    if target.narrow:
        return _NARROW * winograd
    return max(winograd, _of_halves(root, target))


def _of_halves(root: MatmulOp | ConvOp, target: CpuTarget) -> float:
    """Strassen's gain, where the op is one product of rows with a matrix."""
    (*taps, depth, columns), shape = root.operand_type(1).shape, type_of(root.result).shape
    if isinstance(root, ConvOp):
        apart = root.groups > 1 or {*taps, *root.strides} != {1}
    else:
        apart = any(n != 1 for n in taps)
    rows = dims_product(shape[1:-1]) if len(shape) > 2 else shape[0]
    return 1.0 if apart else strassen.gain_of(rows, depth, columns, target)

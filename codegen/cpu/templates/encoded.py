"""Products with a weight that is decoded where it is read; in integers where the CPU sums those."""

from __future__ import annotations

from xdsl.ir import BlockArgument, SSAValue

from ....ir.kernel import KernelOp
from ....ir.ops.constant import ConstantOp
from ....ir.ops.quant import DequantizeOp
from ..target import CpuTarget
from .encoded_digits import DigitsProduct, digits_for
from .encoded_floats import FloatsProduct
from .frame import Code, Frame
from .rooted import Rooted


def encoded_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a product with codes; None where it decodes no constant."""
    decode = _decoded_weight(kernel)
    if decode is None:
        return None
    rooted = Rooted(Frame(kernel, name, target))
    digits = digits_for(target)
    product = DigitsProduct(rooted, decode, digits) if digits else FloatsProduct(rooted, decode)
    return product.build()


def _decoded_weight(kernel: KernelOp) -> DequantizeOp | None:
    """The decoding of a kernel's right factor, where it decodes a constant."""
    decodes = (op for op in kernel.ops if isinstance(op, DequantizeOp))
    return next((op for op in decodes if _is_weight(kernel, op.x)), None)


def _is_weight(kernel: KernelOp, value: SSAValue) -> bool:
    if not isinstance(value, BlockArgument):
        return False
    return isinstance(kernel.inputs[value.index].owner, ConstantOp)

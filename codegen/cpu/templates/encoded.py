"""Products with a weight that is decoded where it is read; in integers where the CPU sums those."""

from __future__ import annotations

from ....ir.kernel import KernelOp
from ...kernels import decoded_weight
from ..target import CpuTarget
from .encoded_digits import DigitsProduct, digits_for
from .encoded_floats import FloatsProduct
from .frame import Code, Frame
from .rooted import Rooted


def encoded_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a product with codes; None where it decodes no constant."""
    decode = decoded_weight(kernel)
    if decode is None:
        return None
    rooted = Rooted(Frame(kernel, name, target))
    digits = digits_for(target)
    product = DigitsProduct(rooted, decode, digits) if digits else FloatsProduct(rooted, decode)
    return product.build()

"""Which kernels of this target multiply bf16, and which read it though they compute in f32."""

from __future__ import annotations

from ...ir.kernel import KernelOp
from ...ir.ops.conv import ConvOp
from ...ir.ops.quant import DequantizeOp
from ...passes.contract import Pass
from ...passes.narrow_values import NarrowValues
from .convolution import choose
from .sparsity import choose_sparse
from .target import CpuTarget


def narrowing(target: CpuTarget) -> tuple[Pass, ...]:
    """The pass that rounds to bf16, where that is wanted and the machine multiplies it."""
    if not target.narrow:
        return ()

    def multiplies(kernel: KernelOp) -> bool:
        convolutions = [op for op in kernel.ops if isinstance(op, ConvOp)]
        return reads(kernel) and not any(choose(op, target).results for op in convolutions)

    def reads(kernel: KernelOp) -> bool:
        encoded = any(isinstance(op, DequantizeOp) for op in kernel.ops)
        return not encoded and choose_sparse(kernel, target).height == 0

    return (NarrowValues(multiplies, reads),)

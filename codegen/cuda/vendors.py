"""The libraries that may be asked to compute a kernel, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ...ir.dims import dim_min
from ...ir.dims import product as dims_product
from ...ir.kernel import KernelOp
from .cublas import product_call
from .cudnn import convolution_call
from .frame import Code
from .target import CudaTarget
from .vendor import Unlike, VendorCall

_CALLS: tuple[Callable[[KernelOp, str, CudaTarget, Code], VendorCall], ...] = (
    product_call,
    convolution_call,
)


def vendor_code(kernel: KernelOp, name: str, target: CudaTarget, first: Code) -> Code | None:
    """A library's way to compute what ``first`` does, on the same memory; None if none has one."""
    for describe in _CALLS:
        with suppress(Unlike):
            call = describe(kernel, name, target, first)
            any_at_all = dims_product(dim_min(1, size) for size in call.sizes)
            same = {"packed": first.packed, "subject": first.subject}
            return Code(
                f"{name}_{call.library}", "", first.signature, (), any_at_all, call=call, **same
            )
    return None

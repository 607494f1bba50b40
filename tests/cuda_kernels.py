"""The kernels of ``cuda_sample`` in Triton."""

import triton
import triton.language as tl


@triton.jit
def affine(x, w, out, n, k, scale, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    value = tl.load(x + i, mask=inside) * scale + tl.load(w + i % k, mask=inside)
    tl.store(out + i, value, mask=inside)


@triton.jit
def subtract(x, out, n, c, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    tl.store(out + i, c - tl.load(x + i, mask=inside), mask=inside)

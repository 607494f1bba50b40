"""The depthwise template: each channel is convolved on its own, channels last.

What a tile reads of a row is loaded once for all places that take part in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import VectorType
from xdsl.ir import Attribute, SSAValue

from ....ir.affine import Affine
from ....ir.dims import Dim
from ....ir.kernel import KernelOp
from ....ir.ops.constant import ConstantOp
from ....ir.ops.conv import ConvOp
from ....ir.scalar import Scalar
from ....ir.types import F32, I32, is_float, type_of
from ..builder import like
from ..elements import convert, storage_type, to_register
from ..target import CpuTarget
from .frame import Code, Frame, Packing, static
from .products import Factor
from .rooted import Rooted, root_of
from .windowed import Windowed
from .windows import Taps


def depthwise_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a depthwise convolution of floats or bytes; None for others."""
    root = root_of(kernel.ops)
    if not isinstance(root, ConvOp) or not root.by_channel or not _is_summed(root):
        return None
    rooted = Rooted(Frame(kernel, name, target))
    factors = [_factor(rooted, a) for a in rooted.body.args]
    if len(factors) != 2 or factors[0] is None or factors[1] is None:
        return None
    return _Depthwise(rooted, root, factors[0], factors[1]).build()


def _is_summed(root: ConvOp) -> bool:
    """Whether the sums are f32, or the result are the sums of bytes."""
    return root.wide() == F32 or root.dtype == I32


def _factor(rooted: Rooted, node: Scalar) -> Factor | None:
    """The buffer that a factor is read from, channels side by side; guards are left out."""
    while node.op in ("select", "cast"):
        node = node.args[node.op == "select"]
    if node.op != "load" or node.attr not in rooted.frame.buffers:
        return None
    form = rooted.space.position(node.args, rooted.frame.buffers[node.attr].shape)
    channel = len(rooted.indices) - 1
    return Factor(node.attr, form) if not form.rest and form.coefficient(channel) == 1 else None


class _Depthwise(Windowed):
    def __init__(self, rooted: Rooted, root: ConvOp, x: Factor, w: Factor):
        super().__init__(rooted, root.window(), type_of(root.x).shape[1:-1], root.wide())
        self.x, self.w = x, w
        weights = self.frame.kernel.inputs[w.number]
        plain = root.w is self.frame.kernel.block.args[w.number]
        self.packed = plain and isinstance(weights.owner, ConstantOp)

    def _taps(self, taps: Taps, totals: Sequence[SSAValue]) -> list[SSAValue]:
        """The sums with one row of the window."""
        type = totals[0].type
        assert isinstance(type, VectorType)
        x, (w, step) = self._position(self.x.form), self._weights(type.get_shape()[1])
        place, tap = self.x.stride(self.inner.axis), self.x.stride(self.inner.tap)
        pixels: dict[Dim, SSAValue] = {}
        sums = list(totals)
        for k in range(self.inner.kernel):
            users = [n for n, inside in enumerate(taps) if k in inside]
            if not users:
                continue
            weight = self._load(self.w, w, k * step, type)
            for n in users:
                offset = n * place + k * tap
                if offset not in pixels:
                    pixels[offset] = self._load(self.x, x, offset, type)
                sums[n] = self._sum(pixels[offset], weight, sums[n])
        return sums

    def _weights(self, lanes: int) -> tuple[SSAValue, Dim]:
        """Where the row's weights begin, and how far they are apart."""
        if not self.packed:
            return self._position(self.w.form), self.w.stride(self.inner.tap)
        b, tap = self.b, self.b.index(0)
        for side in (*self.outer, self.inner):
            tap = b.add_index(b.mul_index(tap, b.index(side.kernel)), self.axes[side.tap])
        block = b.mul_index(self.axes[self.channel], b.index(self.taps))
        return b.add_index(block, b.mul_index(tap, b.index(lanes))), lanes

    def _packings(self) -> dict[int, Packing]:
        """Weights in the order in which they are read: for some channels all taps."""
        if not self.packed:
            return {}
        channels, lanes = static((self.shape[-1],)), self.lanes

        def pack(array: np.ndarray) -> np.ndarray:
            flat = array.reshape(-1, channels)
            blocks = [flat[:, c : c + lanes].reshape(-1) for c in range(0, channels, lanes)]
            return np.concatenate(blocks)

        shape = (self.taps * channels,)
        return {self.w.number: Packing(("depthwise", lanes), shape, pack)}

    def _load(self, factor: Factor, start: SSAValue, offset: Dim, type: Attribute) -> SSAValue:
        b, memory = self.b, self.frame.buffers[factor.number].memory
        position = b.add_index(start, self.frame.dim(offset))
        dtype = type_of(self.frame.kernel.inputs[factor.number]).dtype
        loaded = b.load(memory, position, like(type, storage_type(dtype)), [b.index(0), b.index(1)])
        value = to_register(b, loaded, dtype)
        return value if is_float(dtype) else convert(b, value, dtype, self.dtype)

    def _sum(self, x: SSAValue, w: SSAValue, total: SSAValue) -> SSAValue:
        if self.dtype == F32:
            return self.b.fma(x, w, total)
        product = self.b.op(arith.MuliOp, [x, w], total.type)
        return self.b.op(arith.AddiOp, [total, product], total.type)

    def _position(self, form: Affine) -> SSAValue:
        total = self.frame.dim(form.constant)
        for axis, factor in form.coefficients.items():
            term = self.b.mul_index(self.axes[axis], self.frame.dim(factor))
            total = self.b.add_index(total, term)
        return total

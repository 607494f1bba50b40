"""How long layers will take, before any code is made of them: what compression is judged by.

Cycles of one thread: the multipliers' rate, or what it takes to read the weights where that is
longer. Sparse products are predicted as they are when the code is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Shape, product
from ...ir.op import GraphOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.quant import DequantizeOp, QuantizeOp
from ...ir.ops.shape import TransposeOp
from ...ir.types import F32, bit_width, type_of
from ...passes.compress.costs import Sizes, known
from .encoded import encoded_cycles, groups_of, ungrouped
from .sparsity import predicted_cycles
from .target import CpuTarget

_HERTZ = 3e9
_RATE = 0.93
_BYTES_A_CYCLE = 10
# Cycles for a vector of floats that is moved, or quantized.
_MOVED, _QUANTIZED = 2.0, 1.0


@dataclass(frozen=True)
class Estimate:
    """Predicts for a target; what ``passes.compress.costs.Costs`` asks for.

    Attributes:
        target: What the code will be for.
        sizes: Of symbols; others count as ``TYPICAL``.
    """

    target: CpuTarget
    sizes: Sizes = field(default_factory=dict)

    def seconds(self, ops: Iterable[GraphOp]) -> float:
        """Seconds of one thread at 3 GHz."""
        return sum(self._cycles(op) for op in ops) / _HERTZ

    def at(self, sizes: Sizes) -> Estimate:
        """The same, for ``sizes``."""
        return replace(self, sizes=sizes)

    def _cycles(self, op: GraphOp) -> float:
        if isinstance(op, MatmulOp | ConvOp):
            return self._product(op)
        vectors = self._count(type_of(op.results[0]).shape) / self.target.lanes(32)
        if isinstance(op, TransposeOp):
            return vectors * _MOVED
        return vectors * _QUANTIZED if isinstance(op, QuantizeOp) else 0.0

    def _product(self, op: MatmulOp | ConvOp) -> float:
        x, w = op.operands
        if isinstance(w.owner, ConstantOp) and type_of(w).dtype == F32:
            return max(self._with_zeros(op, w.owner.value.array), self._read(w))
        codes = _codes_of(w)
        if codes is None:
            return max(self._work(op, 32), self._read(w))
        if _is_integer(x) and bit_width(codes.dtype) == 8:
            return max(self._integers(op, codes), self._read(w))
        return self._on_codes(op, codes)

    def _with_zeros(self, op: MatmulOp | ConvOp, array: np.ndarray) -> float:
        """The faster of the dense product, and one that skips zeros."""
        if isinstance(op, ConvOp) and op.groups > 1:
            return self._work(op, 32)
        matrix, rows = array.reshape(-1, array.shape[-1]), type_of(op.results[0]).shape[:-1]
        return min(predicted_cycles(op, self._count(rows), matrix, self.target).values())

    def _integers(self, op: MatmulOp | ConvOp, codes: np.ndarray) -> float:
        """The same for bytes, of which four neighbours are one word."""
        depth = codes.size // codes.shape[-1]
        if not self.target.dot4 or depth % 4:
            return self._work(op, 8, bool(self.target.dot4))
        taken = np.asarray(codes.reshape(depth // 4, 4, -1).any(1))
        return self._with_zeros(op, taken)

    def _on_codes(self, op: MatmulOp | ConvOp, codes: np.ndarray) -> float:
        """The faster of the product that reads codes, and that of what they mean."""
        rows, bits = self._count(type_of(op.results[0]).shape[:-1]), bit_width(codes.dtype)
        dense = max(self._work(op, 32), 4 * codes.size / _BYTES_A_CYCLE)
        decode = op.operands[1].owner
        if isinstance(op, ConvOp) or not isinstance(decode, DequantizeOp) or ungrouped(decode):
            return dense
        depth, columns = codes.shape
        sizes = rows, depth, columns, bits, groups_of(decode)[0]
        return min(dense, encoded_cycles(*sizes, self.target))

    def _work(self, op: MatmulOp | ConvOp, bits: int, has_dot: bool = True) -> float:
        """Multiply-adds at their rate; bytes without their instruction as words."""
        lanes = self.target.lanes(bits if has_dot else 2 * bits)
        rows = self._count(type_of(op.results[0]).shape[:-1])
        weight = self._count(op.operand_type(1).shape)
        return rows * weight / lanes / self.target.multipliers / _RATE

    def _read(self, weight: SSAValue) -> float:
        """Cycles to read the constant as it is stored."""
        owner = weight.owner
        stored = type_of(owner.x if isinstance(owner, DequantizeOp) else weight)
        return self._count(stored.shape) * bit_width(stored.dtype) / 8 / _BYTES_A_CYCLE

    def _count(self, shape: Shape) -> int:
        return known(product(shape), self.sizes)


def _codes_of(weight: SSAValue) -> np.ndarray | None:
    """The constant that is decoded, or None."""
    owner = weight.owner
    stored = owner.x.owner if isinstance(owner, DequantizeOp) else None
    return stored.value.array if isinstance(stored, ConstantOp) else None


def _is_integer(value: SSAValue) -> bool:
    owner = value.owner
    return isinstance(owner, DequantizeOp) and bit_width(type_of(owner.x).dtype) == 8

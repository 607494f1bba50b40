"""Cases of tensors of sizes; constants themselves are in all others."""

from __future__ import annotations

from mlc.ir.ops.constant import DimsOp

from .case import F32, I32, Case

CONSTANT = [
    Case(DimsOp, (), {"elements": ("N", 5, "N*S + 1"), "shape": (3,)}),
    Case(DimsOp, (), {"elements": (4, -1, 2, 7, 0, 3), "shape": (2, 3), "dtype": I32}),
    Case(DimsOp, (), {"elements": (6,), "shape": (), "dtype": F32}),
    Case(DimsOp, (), {"elements": (), "shape": (0, 2)}),
]

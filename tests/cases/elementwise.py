"""Cases of the elementwise family."""

from __future__ import annotations

import numpy as np
from mlc.ir.op import GraphOp
from mlc.ir.ops import elementwise as e

from .case import BOOL, F32, I32, Case, leaves

BITWISE = (e.AndOp, e.OrOp, e.XorOp)
SHIFTS = (e.ShlOp, e.ShrOp)
UI32 = np.dtype(np.uint32)


def _unary(op: type[GraphOp]) -> list[Case]:
    if op is e.NotOp:
        return [Case(op, (((5,), BOOL),)), Case(op, (((3,), I32),))]
    params = {"to": I32} if op in (e.CastOp, e.BitcastOp) else {}
    return [Case(op, ((s, F32),), params) for s in ((), (0, 3), (1,), (7, 5))]


def _binary(op: type[GraphOp]) -> list[Case]:
    if op in SHIFTS:
        return [Case(op, (((7,), UI32), ((1,), UI32)))]
    dtypes = [I32, BOOL] if op in BITWISE else [F32, I32]
    if op is e.PowOp:
        dtypes = [F32]
    pairs = [((), ()), ((7, 5), (5,)), ((3, 1), (1, 4)), ((0,), (1,)), ((2, 3, 5), (3, 1))]
    return [Case(op, ((a, d), (b, d))) for d in dtypes for a, b in pairs]


ELEMENTWISE = [c for op in leaves(e.UnaryOp) for c in _unary(op)]
ELEMENTWISE += [c for op in leaves(e.BinaryOp) for c in _binary(op)]
ELEMENTWISE += [
    Case(e.SelectOp, (((3, 1), BOOL), ((5,), F32), ((1,), F32))),
    Case(e.GeluOp, (((11,), F32),), {"approximate": True}),
    Case(e.AddOp, ((("N", "S"), F32), (("S",), F32))),
]

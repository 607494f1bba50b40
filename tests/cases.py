"""One table of op cases: every test that runs ops takes them from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from mlc.ir.op import GraphOp
from mlc.ir.ops import elementwise as e
from mlc.ir.ops import matmul, reduce, shape
from mlc.ir.types import is_float

F32 = np.dtype(np.float32)
I32 = np.dtype(np.int32)
BF16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Case:
    """An op class with its parameters and the types of its operands."""

    op: type[GraphOp]
    operands: tuple[tuple[tuple[int, ...], np.dtype], ...]
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        types = "-".join(f"{'x'.join(map(str, s)) or 'scalar'}:{d}" for s, d in self.operands)
        return f"{self.op.name}-{types}"

    def arrays(self) -> list[np.ndarray]:
        rng = np.random.default_rng(7)
        return [_values(rng, shape, dtype) for shape, dtype in self.operands]


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if is_float(dtype):
        return rng.uniform(0.1, 0.9, shape).astype(dtype)
    return rng.integers(-7, 8, shape).astype(dtype)


def _unary(op: type[GraphOp]) -> list[Case]:
    if op is e.NotOp:
        return [Case(op, (((5,), np.dtype(bool)),)), Case(op, (((3,), I32),))]
    params = {"to": I32} if op is e.CastOp else {}
    return [Case(op, ((s, F32),), params) for s in ((), (0, 3), (1,), (7, 5))]


BITWISE = (e.AndOp, e.OrOp, e.XorOp)
SHIFTS = (e.ShlOp, e.ShrOp)


def _binary(op: type[GraphOp]) -> list[Case]:
    if op in SHIFTS:
        return [Case(op, (((7,), np.dtype(np.uint32)), ((1,), np.dtype(np.uint32))))]
    dtypes = [I32, np.dtype(bool)] if op in BITWISE else [F32, I32]
    if op is e.PowOp:
        dtypes = [F32]
    pairs = [((), ()), ((7, 5), (5,)), ((3, 1), (1, 4)), ((0,), (1,)), ((2, 3, 5), (3, 1))]
    return [Case(op, ((a, d), (b, d))) for d in dtypes for a, b in pairs]


def _leaves(base: type[GraphOp]) -> list[type[GraphOp]]:
    return [c for c in base.__subclasses__() if not c.__subclasses__()]


ELEMENTWISE = [c for op in _leaves(e.UnaryOp) for c in _unary(op)]
ELEMENTWISE += [c for op in _leaves(e.BinaryOp) for c in _binary(op)]
ELEMENTWISE += [Case(e.SelectOp, (((3, 1), np.dtype(bool)), ((5,), F32), ((1,), F32)))]
ELEMENTWISE += [Case(e.GeluOp, (((11,), F32),), {"approximate": True})]

REDUCE = [
    Case(op, ((s, d),), {"axes": axes, "keepdims": keep})
    for op in _leaves(reduce.ReduceOp)
    for s, axes in (((7, 5), (1,)), ((2, 3, 5), (0, 2)), ((4,), ()), ((3,), (0,)))
    for d in ([F32, BF16] if op is reduce.ReduceMeanOp else [F32, I32])
    for keep in (False, True)
]
REDUCE += [Case(reduce.ReduceSumOp, (((3, 0), F32),), {"axes": (1,)})]

MATMUL = [
    Case(matmul.MatmulOp, ((a, d), (b, d)))
    for d in (F32, I32, BF16)
    for a, b in (
        ((1, 1), (1, 1)),
        ((7, 13), (13, 5)),
        ((3, 0), (0, 2)),
        ((2, 3, 5, 7), (3, 7, 2)),
        ((2, 1, 4, 3), (5, 3, 1)),
    )
]

SHAPE = [
    Case(shape.ReshapeOp, (((4, 6), F32),), {"shape": (3, 8)}),
    Case(shape.ReshapeOp, (((1,), F32),), {"shape": ()}),
    Case(shape.ReshapeOp, (((0, 3), F32),), {"shape": (3, 0)}),
    Case(shape.TransposeOp, (((2, 3, 5), F32),), {"perm": (2, 0, 1)}),
    Case(shape.BroadcastOp, (((3, 1), I32),), {"shape": (2, 3, 5)}),
    Case(shape.SliceOp, (((7, 5), F32),), {"starts": (1, 0), "stops": (6, 5), "steps": (2, 1)}),
    Case(shape.ConcatOp, (((2, 3), F32), ((2, 0), F32), ((2, 4), F32)), {"axis": 1}),
]

CASES = [*ELEMENTWISE, *REDUCE, *MATMUL, *SHAPE]

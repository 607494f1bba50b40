"""Cases of gathers, scatters and triangles."""

from __future__ import annotations

from mlc.ir.ops.index import GatherElementsOp, GatherNdOp, GatherOp, TriluOp
from mlc.ir.ops.scatter import ScatterElementsOp, ScatterNdOp

from .case import BF16, BOOL, F32, I8, I32, I64, UI8, Case

INDEX = [
    Case(GatherOp, (((5,), F32), ((), I64)), {"axis": 0}, {1: (-5, 4)}),
    Case(GatherOp, (((2, 5, 3), BF16), ((2, 7), I32)), {"axis": 1}, {1: (-5, 4)}),
    Case(GatherOp, (((2, 3), BOOL), ((0,), I64)), {"axis": 1}),
    Case(GatherOp, (((0, 3), F32), ((2,), I64)), {"axis": 1}, {1: (-3, 2)}),
    Case(GatherOp, (((7,), F32), ((3,), UI8)), {"axis": 0}, {1: (0, 6)}),
    Case(GatherOp, ((("N", "S"), F32), ((1, "N"), I64)), {"axis": 1}, {1: (-7, 6)}),
    Case(GatherElementsOp, (((5,), F32), ((7,), I64)), {"axis": 0}, {1: (-5, 4)}),
    Case(GatherElementsOp, (((3, 5), I32), ((2, 5), I32)), {"axis": 1}, {1: (-5, 4)}),
    Case(GatherElementsOp, (((3, 5), I32), ((7, 4), I64)), {"axis": 0}, {1: (-3, 2)}),
    Case(GatherElementsOp, ((("S", "N"), F32), (("S", 3), I64)), {"axis": 1}, {1: (-3, 2)}),
    Case(GatherNdOp, (((3, 5, 2), F32), ((7, 2), I64)), {}, {1: (-3, 2)}),
    Case(GatherNdOp, (((3, 5), I32), ((2, 3, 1), I64)), {}, {1: (-3, 2)}),
    Case(GatherNdOp, (((2, 3, 5), F32), ((2, 4, 1), I64)), {"batch_dims": 1}, {1: (-3, 2)}),
    Case(GatherNdOp, (((2, 3), F32), ((2, 0), I64))),
    Case(GatherNdOp, (((2, 3), F32), ((2, 0), I64)), {"batch_dims": 1}),
    Case(GatherNdOp, ((("N", "S"), F32), (("S", 2), I64)), {}, {1: (-3, 2)}),
]
INDEX += [
    Case(TriluOp, ((shape, dtype),), {"upper": upper, "k": k})
    for upper in (True, False)
    for shape, dtype, k in (
        ((3, 5), F32, 0),
        ((2, 5, 3), I32, -2),
        ((1, 1), BOOL, 1),
        ((0, 3), F32, 0),
        (("N", "S"), F32, "S - N"),
    )
]
INDEX += [
    Case(ScatterElementsOp, operands, {"axis": axis, "reduction": reduction}, {1: (-3, 2)})
    for reduction in ("none", "add", "mul", "max", "min")
    for operands, axis in (
        ((((3,), F32), ((7,), I64), ((7,), F32)), 0),
        ((((3, 5), I32), ((2, 4), I32), ((2, 4), I32)), 0),
        ((((3, 5), BF16), ((2, 4), I64), ((2, 4), BF16)), 1),
        ((((3, 0), F32), ((3, 0), I64), ((3, 0), F32)), 0),
        (((("N", "S"), F32), (("S", "S"), I64), (("S", "S"), F32)), 0),
    )
]
INDEX += [
    Case(ScatterNdOp, operands, {"reduction": reduction}, {1: (-3, 2)})
    for reduction in ("none", "add", "mul", "max", "min")
    for operands in (
        (((3, 5), F32), ((4, 2), I64), ((4,), F32)),
        (((3, 5), I8), ((2, 2, 1), I32), ((2, 2, 5), I8)),
        (((3,), F32), ((2, 0), I64), ((2, 3), F32)),
        ((("N", "S"), F32), (("S", 1), I64), (("S", "S"), F32)),
    )
]

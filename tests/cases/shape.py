"""Cases of the ops that move elements."""

from __future__ import annotations

from mlc.ir.ops import shape

from .case import BF16, BOOL, F32, I32, Case

SHAPE = [
    Case(shape.ReshapeOp, (((4, 6), F32),), {"shape": (3, 8)}),
    Case(shape.ReshapeOp, (((1,), F32),), {"shape": ()}),
    Case(shape.ReshapeOp, (((0, 3), F32),), {"shape": (3, 0)}),
    Case(shape.ReshapeOp, ((("N", 2, "S"), F32),), {"shape": ("2*S", "N")}),
    Case(shape.TransposeOp, (((2, 3, 5), F32),), {"perm": (2, 0, 1)}),
    Case(shape.BroadcastOp, (((3, 1), I32),), {"shape": (2, 3, 5)}),
    Case(shape.BroadcastOp, ((("N", 1), I32),), {"shape": ("N", "2*N")}),
    Case(shape.SliceOp, (((7, 5), F32),), {"starts": (1, 0), "stops": (6, 5), "steps": (2, 1)}),
    Case(shape.SliceOp, ((("S",), F32),), {"starts": ("S - 3",), "stops": ("S",), "steps": (1,)}),
    Case(shape.ConcatOp, (((2, 3), F32), ((2, 0), F32), ((2, 4), F32)), {"axis": 1}),
    Case(shape.ConcatOp, (((2, "N"), F32), ((2, "S"), F32)), {"axis": 1}),
]
SHAPE += [
    case
    for mode in shape.PadOp.MODES
    for case in (
        Case(shape.PadOp, (((5,), F32),), {"pads": (2, 3), "mode": mode}),
        Case(shape.PadOp, (((1, 3), I32),), {"pads": (2, 7, 3, 0), "mode": mode}),
        Case(shape.PadOp, (((2, 3, 2), BF16),), {"pads": (0, 1, 0, 0, 2, 0), "mode": mode}),
        Case(shape.PadOp, (((), F32),), {"pads": (), "mode": mode}),
        Case(shape.PadOp, ((("N", "S"), F32),), {"pads": ("N", 1, 2, "S - 1"), "mode": mode}),
    )
]
SHAPE += [
    Case(shape.PadOp, (((3, 2), F32), ((), F32)), {"pads": (1, 0, 0, 2)}),
    Case(shape.PadOp, (((0, 2), F32), ((), F32)), {"pads": (1, 0, 2, 0)}),
    Case(shape.ReverseOp, (((2, 3, 5), F32),), {"axes": (0, 2)}),
    Case(shape.ReverseOp, ((("N", 0), BOOL),), {"axes": (0,)}),
    Case(shape.IotaOp, (), {"shape": (7,)}),
    Case(shape.IotaOp, (), {"shape": (0,), "dtype": F32}),
    Case(shape.IotaOp, (), {"shape": (5,), "dtype": I32}),
]

"""Cases of the convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlc.ir.ops.conv import ConvOp, ConvTransposeOp, GroupedConvOp

from .case import BF16, F32, F64, I32, Case, Shape


def _case(op: type, x: Shape, w: Shape, dtype: np.dtype = F32, **params: Any) -> Case:
    rank = len(x) - 2
    plain = {"strides": (1,) * rank, "pads": (0,) * 2 * rank, "dilations": (1,) * rank}
    extra = {"output_padding": (0,) * rank} if op is ConvTransposeOp else {}
    return Case(op, ((x, dtype), (w, dtype)), {**plain, **extra, **params})


def _grouped(x: Shape, w: Shape, dtype: np.dtype = F32, **params: Any) -> Case:
    rank = len(x) - 3
    plain = {"strides": (1,) * rank, "dilations": (1,) * rank}
    return Case(GroupedConvOp, ((x, dtype), (w, dtype)), {**plain, **params})


CONV = [
    _case(ConvOp, (1, 1, 1), (1, 1, 1)),
    _case(ConvOp, (2, 7, 3), (3, 3, 5), pads=(1, 1)),
    _case(ConvOp, (2, 7, 3), (3, 3, 5), BF16, pads=(0, 2), strides=(2,)),
    _case(ConvOp, (2, 5, 7, 3), (3, 2, 3, 5), strides=(2, 1), pads=(1, 0, 2, 1)),
    _case(ConvOp, (1, 7, 7, 4), (3, 3, 2, 6), groups=2, dilations=(2, 3), pads=(2, 2, 2, 2)),
    _case(ConvOp, (1, 5, 5, 4), (3, 3, 1, 4), groups=4),
    _case(ConvOp, (1, 5, 5, 4), (3, 3, 1, 8), I32, groups=4),
    _case(ConvOp, (0, 5, 5, 2), (3, 3, 2, 1)),
    _case(ConvOp, (1, 3, 4, 5, 2), (2, 2, 2, 2, 3), F64, pads=(1, 0, 0, 0, 0, 1)),
    _case(ConvOp, ("N", "S", 5, 2), (3, 3, 2, 3), strides=(2, 1), pads=("S % 2", 1, 1, 1)),
    _case(ConvTransposeOp, (1, 1, 1), (1, 1, 1)),
    _case(ConvTransposeOp, (2, 5, 3), (3, 3, 4), strides=(2,), pads=(1, 0), output_padding=(1,)),
    _case(ConvTransposeOp, (1, 3, 4, 4), (3, 2, 4, 3), groups=2, dilations=(2, 1)),
    _case(ConvTransposeOp, (1, 3, 4, 2), (3, 3, 2, 5), I32, strides=(3, 2), pads=(1, 1, 2, 0)),
    _case(ConvTransposeOp, (2, 0, 2), (3, 2, 1), strides=(2,)),
    _case(ConvTransposeOp, ("N", "S", 2), (4, 2, 3), strides=(2,), pads=(1, 1)),
    _grouped((1, 1, 1, 1), (1, 1, 1, 1)),
    _grouped((2, 7, 5, 3, 4), (3, 2, 3, 4, 6), strides=(2, 1), dilations=(1, 2)),
    _grouped((0, 7, 2, 3), (3, 2, 3, 5)),
    _grouped((1, 9, 2, 16), (3, 2, 16, 20), dilations=(2,)),
    _grouped(("N", "S", 2, 3), (3, 2, 3, 5), I32),
]

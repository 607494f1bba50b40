"""What a case is: an op with parameters and operand types, and the values it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from mlc.ir.dims import parse_dim
from mlc.ir.op import GraphOp
from mlc.ir.symbols import known_shape, known_symbols
from mlc.ir.types import DTYPE_NAMES, TensorType, is_float, is_signed, tensor

BOOL = np.dtype(bool)
F16 = np.dtype(np.float16)
F32 = np.dtype(np.float32)
F64 = np.dtype(np.float64)
BF16 = np.dtype(ml_dtypes.bfloat16)
I8 = np.dtype(np.int8)
I32 = np.dtype(np.int32)
I64 = np.dtype(np.int64)
UI8 = np.dtype(np.uint8)

# The values of the symbols that cases have in their shapes.
SIZES = {"N": 3, "S": 7}

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Case:
    """An op class with its parameters and the types of its operands.

    Attributes:
        op: The class.
        operands: Shape (ints, text of dims with symbols of SIZES) and dtype of each operand.
        params: The op's parameters.
        ranges: For an operand's number, the least and the largest value it may hold.
    """

    op: type[GraphOp]
    operands: tuple[tuple[Shape, np.dtype], ...]
    params: dict[str, Any] = field(default_factory=dict)
    ranges: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        types = [f"{'x'.join(map(str, s)) or 'scalar'}:{DTYPE_NAMES[d]}" for s, d in self.operands]
        return "-".join([self.op.name, *types])

    def types(self) -> list[TensorType]:
        """The operand types, symbols included."""
        return [tensor(map(parse_dim, map(str, s)), d) for s, d in self.operands]

    def arrays(self) -> list[np.ndarray]:
        """Values for the operands; always the same."""
        rng = np.random.default_rng(7)
        with known_symbols(SIZES):
            shapes = [known_shape(t.shape) for t in self.types()]
        return [
            _values(rng, shape, dtype, self.ranges.get(k))
            for k, (shape, (_, dtype)) in enumerate(zip(shapes, self.operands, strict=True))
        ]


def leaves(base: type[GraphOp]) -> list[type[GraphOp]]:
    """The classes of a family that are ops."""
    below = [leaf for cls in base.__subclasses__() for leaf in leaves(cls)]
    return below if "name" not in vars(base) else [base, *below]


def _values(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: np.dtype,
    bounds: tuple[float, float] | None,
) -> np.ndarray:
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if is_float(dtype):
        return rng.uniform(*(bounds or (0.1, 0.9)), shape).astype(dtype)
    low, high = bounds or ((-7, 7) if is_signed(dtype) else (0, 14))
    return rng.integers(int(low), int(high) + 1, shape).astype(dtype)

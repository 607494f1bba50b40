"""The graph level's one type: a tensor with a shape (symbolic dims allowed) and a dtype.

Dtypes are numpy dtypes, with ml_dtypes for what numpy lacks. Their text is short: ``f32``,
``bf16``, ``i8`` (signed), ``ui8``, ``i1`` (bool).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeGuard

import ml_dtypes
import numpy as np
from xdsl.ir import Data, SSAValue, TypeAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer

from .dims import Dim, Shape, is_static, parse_dim, product

DTYPES: dict[str, np.dtype] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "i1": np.bool_,
        "i8": np.int8,
        "i16": np.int16,
        "i32": np.int32,
        "i64": np.int64,
        "ui8": np.uint8,
        "ui16": np.uint16,
        "ui32": np.uint32,
        "ui64": np.uint64,
        "i2": ml_dtypes.int2,
        "i4": ml_dtypes.int4,
        "ui2": ml_dtypes.uint2,
        "ui4": ml_dtypes.uint4,
        "f16": np.float16,
        "bf16": ml_dtypes.bfloat16,
        "f32": np.float32,
        "f64": np.float64,
        "f8E4M3FN": ml_dtypes.float8_e4m3fn,
        "f8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
        "f8E5M2": ml_dtypes.float8_e5m2,
        "f8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
        "f8E8M0FNU": ml_dtypes.float8_e8m0fnu,
        "f4E2M1FN": ml_dtypes.float4_e2m1fn,
    }.items()
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

BOOL = DTYPES["i1"]
I32 = DTYPES["i32"]
I64 = DTYPES["i64"]
F32 = DTYPES["f32"]


def is_float(dtype: np.dtype) -> bool:
    """Whether ``dtype`` is a floating-point type, ml_dtypes included."""
    return DTYPE_NAMES[dtype].lstrip("b")[0] == "f"


def is_integer(dtype: np.dtype) -> bool:
    """Whether ``dtype`` is an integer type; bool is none."""
    return not is_float(dtype) and dtype != BOOL


def is_signed(dtype: np.dtype) -> bool:
    """Whether values of ``dtype`` can be negative."""
    return dtype != BOOL and not DTYPE_NAMES[dtype].startswith("u")


def bit_width(dtype: np.dtype) -> int:
    """Bits a value carries: 4 for ``i4``, though numpy stores it in a byte."""
    name = DTYPE_NAMES[dtype]
    digits = "".join(c if c.isdigit() else " " for c in name).split()
    return int(digits[0])


def astype(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numpy's ``astype``; through f32 where it knows no way between two dtypes of few bits."""
    if not np.can_cast(array.dtype, dtype, "unsafe"):
        array = array.astype(F32)
    return array.astype(dtype)


@irdl_attr_definition
class TensorType(Data[tuple[Shape, np.dtype]], TypeAttribute):
    """A tensor: ``!mlc.tensor<[N, 64] f32>``; composite dims are quoted: ``["2*N", 64]``."""

    name = "mlc.tensor"

    @property
    def shape(self) -> Shape:
        """The dims, outermost first."""
        return self.data[0]

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self.data[1]

    @property
    def rank(self) -> int:
        """The number of dims."""
        return len(self.data[0])

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return product(self.shape)

    @property
    def is_static(self) -> bool:
        """Whether no dim is symbolic."""
        return is_static(self.shape)

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        """The same dtype in another shape."""
        return tensor(shape, self.dtype)

    def with_dtype(self, dtype: np.dtype | type) -> TensorType:
        """The same shape of another dtype."""
        return tensor(self.shape, dtype)

    def __str__(self) -> str:
        return f"{shape_text(self.shape)} {DTYPE_NAMES[self.dtype]}"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> tuple[Shape, np.dtype]:
        """Reads ``<[N, 64] f32>``."""
        with parser.in_angle_brackets():
            shape = tuple(parser.parse_comma_separated_list(parser.Delimiter.SQUARE, _dim(parser)))
            return shape, parse_dtype(parser)

    def print_parameter(self, printer: Printer) -> None:
        """Writes ``<[N, 64] f32>``."""
        printer.print_string(f"<{self}>")


def tensor(shape: Iterable[Dim], dtype: np.dtype | type) -> TensorType:
    """The tensor type of a shape and a dtype.

    Raises:
        TypeError: Tensors of that dtype are not supported.
    """
    dtype = np.dtype(dtype)
    if dtype not in DTYPE_NAMES:
        raise TypeError(f"tensors of dtype {dtype} are not supported")
    return TensorType((tuple(int(d) if _is_int(d) else d for d in shape), dtype))


def type_of(value: SSAValue) -> TensorType:
    """The tensor type of a graph-level value."""
    if not isinstance(value.type, TensorType):
        raise TypeError(f"expected a tensor, got {value.type}")
    return value.type


def shape_text(shape: Iterable[Dim]) -> str:
    """A shape as the IR prints it: ``[N, 64]``."""
    return f"[{', '.join(_dim_text(d) for d in shape)}]"


def float_text(value: float) -> str:
    """A finite float as the IR prints it: the shortest text that reads back as the same value."""
    mantissa, exponent, power = repr(value).partition("e")
    return repr(value) if "." in mantissa or not exponent else f"{mantissa}.0e{power}"


def parse_dtype(parser: AttrParser) -> np.dtype:
    """Reads a dtype's short name."""
    name = parser.parse_identifier("dtype")
    if name not in DTYPES:
        parser.raise_error(f"unknown dtype '{name}'; known: {', '.join(DTYPES)}")
    return DTYPES[name]


def _is_int(dim: Dim) -> TypeGuard[int]:
    return isinstance(dim, (int, np.integer))


def _dim_text(dim: Dim) -> str:
    text = str(dim)
    return text if isinstance(dim, int) or text.isidentifier() else f'"{text}"'


def _dim(parser: AttrParser) -> Callable[[], Dim]:
    def parse() -> Dim:
        text = parser.parse_optional_str_literal() or parser.parse_optional_identifier()
        return parse_dim(text) if text is not None else parser.parse_integer()

    return parse

"""Elements in memory and in registers: Triton's names for them, and conversions as text.

Narrow floats are held in f32 from the load to the store; they round when they are stored, and
f16 and bf16 nowhere before. A bool is a byte in memory. Integers of fewer than 8 bits take a byte,
above whose bits numpy leaves anything.
"""

from __future__ import annotations

import re

import numpy as np

from ...ir.errors import TargetError
from ...ir.scalar import Number
from ...ir.types import BOOL, DTYPE_NAMES, bit_width, is_float, is_signed

_TYPES = {
    "f16": ("fp16", "float16"),
    "bf16": ("bf16", "bfloat16"),
    "f32": ("fp32", "float32"),
    "f64": ("fp64", "float64"),
    "f8E4M3FN": ("fp8e4nv", "float8e4nv"),
    "f8E5M2": ("fp8e5", "float8e5"),
}
_MINIFLOAT = 8
_LITERAL = re.compile(r"-?\d[\d.e+-]*|float\(\"-?\w+\"\)|True|False")


def pointer_type(dtype: np.dtype) -> str:
    """How a signature names a pointer to elements: ``*fp32``.

    Raises:
        TargetError: Triton has no such element type.
    """
    if not is_float(dtype):
        return f"*{_integer(dtype)[0]}"
    return f"*{_float(dtype)[0]}"


def memory_type(dtype: np.dtype) -> str:
    """The type of an element in memory: ``tl.float16``."""
    return f"tl.{(_float if is_float(dtype) else _integer)(dtype)[1]}"


def register_type(dtype: np.dtype) -> str:
    """The type of an element that is computed with."""
    if dtype == BOOL:
        return "tl.int1"
    narrow = is_float(dtype) and bit_width(dtype) < 32
    return "tl.float32" if narrow else memory_type(dtype)


def from_memory(text: str, dtype: np.dtype) -> str:
    """A loaded value as it is computed with."""
    if dtype == BOOL:
        return f"({text} != 0)"
    if not is_float(dtype) and bit_width(dtype) < 8:
        unused = 8 - bit_width(dtype)
        return f"(({text} << {unused}) >> {unused})"
    return to(text, register_type(dtype)) if register_type(dtype) != memory_type(dtype) else text


def to_memory(text: str, dtype: np.dtype) -> str:
    """A computed value as it is stored; what is of that type already is left alone by Triton."""
    return to(text, memory_type(dtype))


def rounded(text: str, dtype: np.dtype) -> str:
    """A computed float as ``dtype`` has it, in the type that is computed with."""
    return to(to(text, memory_type(dtype)), register_type(dtype))


def literal(value: Number, dtype: np.dtype) -> str:
    """A constant."""
    if is_float(dtype):
        number = float(np.asarray(value).astype(dtype) if is_minifloat(dtype) else value)
        if dtype.itemsize <= 4 and np.isfinite(number):
            number = float(str(np.float32(number)))  # the fewest digits that are enough
        return repr(number) if np.isfinite(number) else f'float("{number}")'
    return str(bool(value) if dtype == BOOL else int(value))


def is_literal(text: str) -> bool:
    """Whether a text is a constant, of which Triton knows no type."""
    return _LITERAL.fullmatch(text) is not None


def to(text: str, type: str) -> str:
    """A value converted to a type."""
    return f"tl.cast({text}, {type})" if is_literal(text) else f"{text}.to({type})"


def is_minifloat(dtype: np.dtype) -> bool:
    """Whether a float has so few bits that rounding to it must never be left out."""
    return is_float(dtype) and bit_width(dtype) <= _MINIFLOAT


def _float(dtype: np.dtype) -> tuple[str, str]:
    name = DTYPE_NAMES[dtype]
    if name not in _TYPES:
        raise TargetError(f"the CUDA target has no elements of {name}")
    return _TYPES[name]


def _integer(dtype: np.dtype) -> tuple[str, str]:
    width = max(8, bit_width(dtype))
    if dtype == BOOL or not is_signed(dtype):
        return f"u{width}", f"uint{width}"
    return f"i{width}", f"int{width}"

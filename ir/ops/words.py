"""Words: an element and its index in one integer, ordered like the elements, then the indices.

The lowest 32 bits are the index; above them is the element's key, a signed integer. With words,
a sort is stable and an extreme is found with its place, by comparisons of integers alone.
"""

from __future__ import annotations

import numpy as np

from .. import scalar as s
from ..types import DTYPES, F32, I32, I64, bit_width, is_float

F64 = DTYPES["f64"]
UI32 = DTYPES["ui32"]
UI64 = DTYPES["ui64"]
_INDEX = 2**32
_LEAST = -(2**63)


def fits_word(dtype: np.dtype) -> bool:
    """Whether elements of ``dtype`` have keys of at most 32 bits."""
    return bit_width(dtype) <= 32


def word(value: s.Scalar, index: s.Scalar, nan_is_largest: bool = True) -> s.Scalar:
    """The word (i64) of an element at an index below 2**32."""
    return key(value, nan_is_largest) * _INDEX + index


def index_of(word: s.Scalar) -> s.Scalar:
    """The index in a word."""
    return s.binary("and", word, _INDEX - 1)


def key(value: s.Scalar, nan_is_largest: bool = True) -> s.Scalar:
    """The key (i64) of an element; -0 and 0 have the same. Only 64-bit elements need all bits."""
    if value.dtype == UI64:
        return s.binary("xor", s.cast(value, I64), _LEAST)
    if not is_float(value.dtype):
        least = -(2**31) if value.dtype == UI32 else 0
        return s.cast(value, I64) + least
    wide = value.dtype == F64
    bits = _bits(value, I64 if wide else I32)
    nan = np.iinfo(bits.dtype).max if nan_is_largest else np.iinfo(bits.dtype).min
    return s.cast(s.select(s.unary("isnan", value), int(nan), bits), I64)


def _bits(value: s.Scalar, dtype: np.dtype) -> s.Scalar:
    """The bits of a float as an integer; those of negative ones are ordered the other way round."""
    number = s.cast(value, F64 if dtype == I64 else F32) + 0.0
    bits = s.Scalar("bitcast", (number,), dtype)
    sign = s.binary("shr", bits, bit_width(dtype) - 1)
    return s.binary("xor", bits, s.binary("and", sign, int(np.iinfo(dtype).max)))


def comparable(x: np.ndarray) -> np.ndarray:
    """The same values in a dtype that numpy itself sorts, NaN last."""
    if is_float(x.dtype):
        return x if x.itemsize >= 4 else x.astype(np.float32)
    return x.astype(np.int16) if bit_width(x.dtype) < 8 else x

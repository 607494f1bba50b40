"""Words: an element and its index in one integer, ordered like the elements, then the indices.

The lowest 32 bits are the index; above them is the element's key, a signed integer. With words,
a sort is stable and an extreme is found with its place, by comparisons of integers alone.
"""

from __future__ import annotations

import numpy as np

from .. import scalar as s
from ..types import F32, I32, I64, bit_width, is_float

_INDEX = 2**32
_LARGEST = 2**31 - 1


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
    """The key (i64) of an element; -0 and 0 have the same."""
    if not is_float(value.dtype):
        return s.cast(value, I64)
    number = s.cast(value, F32)
    # The bits of floats are ordered like integers; of negative ones the other way round.
    bits = s.Scalar("bitcast", (number + 0.0,), I32)
    turned = s.binary("xor", bits, s.binary("and", s.binary("shr", bits, 31), _LARGEST))
    nan = _LARGEST if nan_is_largest else -_LARGEST - 1
    return s.cast(s.select(s.unary("isnan", number), nan, turned), I64)

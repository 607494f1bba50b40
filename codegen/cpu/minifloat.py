"""Floats of 8 and fewer bits: a code decoded to the f32 it stands for, an f32 rounded to a code.

Both are branch-free arithmetic on the bits of 32-bit lanes, the same for scalars and register
tiles and for every format::

    code 0b1_0111_010  of 4 exponent and 3 mantissa bits, bias 7:  -(1 + 2/8) * 2**(7 - 7)
    code 0b0_0000_010  exponent 0, a denormal:                      (0 + 2/8) * 2**(1 - 7)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType, i32
from xdsl.ir import SSAValue

from ...ir.types import DTYPES
from .builder import LoopBuilder
from .vector_math.lanes import Lanes

CODE = IntegerType(8)
_MANTISSA, _BIAS = 23, 127  # of f32
_MAGNITUDE, _LEADING_ONE = 0x7FFFFFFF, 1 << _MANTISSA
_INFINITY, _NAN = 0x7F800000, 0x7FC00000


@dataclass(frozen=True)
class Minifloat:
    """A format: how many bits are what, and what the codes beyond the numbers mean.

    Attributes:
        exponent: Bits of the exponent.
        mantissa: Bits of the mantissa; without any, there is no zero and no sign either.
        bias: What is subtracted from the exponent.
        largest: The code of the largest number.
        overflow: The code of what is larger.
        nan: The code of NaN; the code of -0 where there is no other.
    """

    exponent: int
    mantissa: int
    bias: int
    largest: int
    overflow: int
    nan: int

    @property
    def sign(self) -> int:
        """The sign bit of a code; 0 without signs."""
        return 1 << (self.exponent + self.mantissa) if self.mantissa else 0

    @property
    def sign_shift(self) -> int:
        """How much further left f32 has its sign."""
        return 31 - self.exponent - self.mantissa

    @property
    def shift(self) -> int:
        """How many mantissa bits f32 has more."""
        return _MANTISSA - self.mantissa

    @property
    def rebias(self) -> int:
        """What an f32's exponent is larger by, at its place in the bits."""
        return (_BIAS - self.bias) << _MANTISSA

    @property
    def has_negative_zero(self) -> bool:
        """Whether the sign bit alone is -0; it is NaN otherwise."""
        return self.overflow != self.sign

    @property
    def has_infinity(self) -> bool:
        """Whether there is an infinity between the numbers and the NaNs."""
        return self.largest < self.overflow < self.nan


FORMATS: dict[np.dtype, Minifloat] = {
    DTYPES[name]: Minifloat(*parameters)
    for name, parameters in {
        "f8E4M3FN": (4, 3, 7, 0x7E, 0x7F, 0x7F),
        "f8E4M3FNUZ": (4, 3, 8, 0x7F, 0x80, 0x80),
        "f8E5M2": (5, 2, 15, 0x7B, 0x7C, 0x7E),
        "f8E5M2FNUZ": (5, 2, 16, 0x7F, 0x80, 0x80),
        "f8E8M0FNU": (8, 0, 127, 0xFE, 0xFF, 0xFF),
        "f4E2M1FN": (2, 1, 1, 0x7, 0x7, 0x8),
    }.items()
}


def decode(b: LoopBuilder, value: SSAValue, format: Minifloat) -> SSAValue:
    """The f32 of a code: exact."""
    code = Lanes(b, value).cast(arith.ExtUIOp, i32)
    sign, magnitude = code & format.sign, code & ((format.sign - 1) & 0xFF)
    bits = (magnitude << format.shift) + format.rebias
    bits = (magnitude < 1 << format.mantissa).where(_denormal_bits(bits, format), bits)
    plain = format.has_negative_zero
    special = magnitude > format.largest if plain else code.equals(format.nan)
    bits = special.where(bits | (_INFINITY if format.has_infinity else _NAN), bits)
    return (bits | sign << format.sign_shift).as_float().value


def _denormal_bits(bits: Lanes, format: Minifloat) -> Lanes:
    """The bits for exponent 0, which means exponent 1 without the leading one."""
    if not format.mantissa:
        return bits.like(_LEADING_ONE >> 1)  # a denormal in f32 too
    with_one = (bits + _LEADING_ONE).as_float()
    return (with_one - 2.0 ** (1 - format.bias)).bits()


def encode(b: LoopBuilder, value: SSAValue, format: Minifloat) -> SSAValue:
    """The code nearest to an f32; of two, the one with an even last bit."""
    bits = Lanes(b, value).bits()
    magnitude = bits & _MAGNITUDE
    code = _rounded(magnitude, format)
    if format.mantissa:
        least = (1 + _BIAS - format.bias) << _MANTISSA
        code = (magnitude < least).where(_rounded_denormal(magnitude, format), code)
    code = (code > format.largest).where(format.overflow, code)
    if format.nan != format.overflow:
        code = (magnitude > _INFINITY).where(format.nan, code)
    return _signed(code, bits, format).cast(arith.TruncIOp, CODE).value


def _rounded(magnitude: Lanes, format: Minifloat) -> Lanes:
    """Cuts bits off after adding half of the last one that stays, or less where that is even."""
    last = magnitude >> format.shift
    # Where no mantissa bit stays, the last one is the leading one, which denormals do not have.
    odd = last & 1 if format.mantissa else last.at_most(1)
    half = 1 << (format.shift - 1)
    return (magnitude + odd + (half - 1 - format.rebias)) >> format.shift


def _rounded_denormal(magnitude: Lanes, format: Minifloat) -> Lanes:
    """Counts the least steps: added to a number whose last bit is that step, f32 rounds them."""
    exponent = 1 - format.bias + format.shift
    counted = magnitude.as_float() + 2.0**exponent
    return counted.bits() - ((exponent + _BIAS) << _MANTISSA)


def _signed(code: Lanes, bits: Lanes, format: Minifloat) -> Lanes:
    """The code with the sign of an f32."""
    if not format.sign:
        is_positive = (bits - 1).is_below_unsigned(_INFINITY)  # neither 0 nor negative nor NaN
        return is_positive.where(code, code.like(format.nan))
    sign = (bits >> format.sign_shift) & format.sign
    if not format.has_negative_zero:
        is_number = (code - 1).is_below_unsigned(format.largest)
        sign = is_number.where(sign, sign.like(0))
    return code ^ sign

"""Bf16, which is the upper half of an f32, as i16: LLVM has no bfloat on most machines.

Rounding is integer arithmetic on the bits where the machine has no instruction for it.
"""

from __future__ import annotations

from .function import FunctionEmitter
from .memory import splat

_HALF, _QUIET = "32767", "4194304"  # just below half of the last bit that stays; a NaN's first bit


def widen(e: FunctionEmitter, value: str, lanes: int) -> str:
    """The f32 register of a register of bf16."""
    words, type = like(lanes, "i32"), like(lanes, "float")
    word = e.define(f"zext {like(lanes, 'i16')} {value} to {words}")
    high = e.define(f"shl {words} {word}, {splat(e, '16', 'i32', lanes)}")
    return e.define(f"bitcast {words} {high} to {type}")


def narrow(e: FunctionEmitter, value: str, lanes: int) -> str:
    """A register of f32 rounded to the nearest bf16, halves to even; a NaN stays one."""
    if not e.target.dot2:
        return _narrow_bits(e, value, lanes)
    type = like(lanes, "bfloat")
    rounded = e.define(f"fptrunc {like(lanes, 'float')} {value} to {type}")
    return e.define(f"bitcast {type} {rounded} to {like(lanes, 'i16')}")


def like(lanes: int, element: str) -> str:
    """The LLVM type of a register."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def _narrow_bits(e: FunctionEmitter, value: str, lanes: int) -> str:
    type, words, tests = (like(lanes, t) for t in ("float", "i32", "i1"))
    shift, one, half, quiet = (splat(e, n, "i32", lanes) for n in ("16", "1", _HALF, _QUIET))
    bits = e.define(f"bitcast {type} {value} to {words}")
    last = e.define(f"lshr {words} {bits}, {shift}")
    odd = e.define(f"and {words} {last}, {one}")
    rounded = e.define(f"add {words} {bits}, {half}")
    rounded = e.define(f"add {words} {rounded}, {odd}")
    is_nan = e.define(f"fcmp uno {type} {value}, {value}")
    nan = e.define(f"or {words} {bits}, {quiet}")
    chosen = e.define(f"select {tests} {is_nan}, {words} {nan}, {words} {rounded}")
    high = e.define(f"lshr {words} {chosen}, {shift}")
    return e.define(f"trunc {words} {high} to {like(lanes, 'i16')}")

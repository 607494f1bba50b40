"""Expressions that machines have an instruction for, or that are cheaper as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Attribute

from ...ir import loop
from ...ir.affine import Affine
from ...ir.dims import Shape
from ...ir.scalar import Scalar, gelu, gelu_by_tanh, is_same
from ...ir.types import DTYPES, F32, I32, is_integer

_GELUS = {"gelu": gelu, "gelu_by_tanh": gelu_by_tanh}
_BYTES = (DTYPES["ui8"], DTYPES["i8"])


def codes_of(form: Affine, shape: Shape, memory: Attribute) -> Scalar | None:
    """The bytes that number the entries of a table of 256 bytes, where a load is from one."""
    if shape != (256,) or form.coefficients or len(form.rest) != 1:
        return None
    ((value, factor),) = form.rest
    bytes = memory == loop.buffer(IntegerType(8)) and value.op == "cast"
    known = bytes and factor == 1 and form.constant == 0 and value.args[0].dtype == np.uint8
    return value.args[0] if known else None


def multiply_add(node: Scalar) -> tuple[Scalar, Scalar, Scalar] | None:
    """The factors and the summand of a sum with a product, which is rounded once.

    What is computed from positions is left alone: it might decide which element is read.
    """
    if node.op != "add" or node.dtype != F32:
        return None
    for product, other in (node.args, node.args[::-1]):
        if product.op == "mul" and not _is_of_positions(node):
            a, b = product.args
            return a, b, other
    return None


def gated(node: Scalar) -> tuple[str, Scalar] | None:
    """The function of ``vector_math`` that a number times its gate is, and the number."""
    if node.op != "mul" or node.dtype != F32:
        return None
    x, gate = node.args
    if gate.op == "sigmoid" and is_same(x, gate.args[0]):
        return "silu", x
    if (x.op, gate.op) != ("mul", "add"):
        return None
    x = x.args[0]
    found = (name for name, write in _GELUS.items() if is_same(node, write(x)))
    return next(((name, x) for name in found), None)


def is_nearest(node: Scalar) -> bool:
    """Whether a cast gives the nearest integer of what surely is within the integers."""
    (source,) = node.args
    if node.dtype != I32 or source.op != "round" or source.dtype != F32:
        return False
    high = source.args[0]
    low = high.args[1] if high.op == "select" else high
    pair = [n.args[2] for n in (high, low) if n.op == "select"]
    return len(pair) == 2 and all(_is_small(n) for n in pair)


@dataclass(frozen=True)
class Code:
    """A quantized number: ``round``, which is within the limits of a byte, plus ``zero``."""

    round: Scalar
    zero: Scalar


def code_of(node: Scalar) -> Code | None:
    """What a byte is the code of, where it is one: clamped, rounded, and shifted, of i32."""
    if node.op != "cast" or node.dtype not in _BYTES or node.args[0].op != "add":
        return None
    whole, zero = node.args[0].args
    if whole.op != "cast" or not is_nearest(whole):
        return None
    return Code(whole.args[0], zero)


def decoded(node: Scalar) -> tuple[Scalar, Scalar | None] | None:
    """A code as a float: a rounded number and the zero point to be added, which may be none.

    What is quantized and decoded in one kernel needs no integers.
    """
    if node.dtype != F32 or node.op not in ("cast", "sub"):
        return None
    if node.op == "cast":
        code = code_of(node.args[0])
        return (code.round, None if _is_zero(code.zero) else code.zero) if code else None
    whole = decoded(node.args[0]) if node.args[0].op == "cast" else None
    return (whole[0], None) if whole and whole[1] and _same(whole[1], node.args[1]) else None


def _same(whole: Scalar, number: Scalar) -> bool:
    """Whether an integer zero point and a float one are one."""
    if whole.op == number.op == "const":
        return whole.attr == number.attr
    sources = [n.args[0] if n.op == "cast" else n for n in (whole, number)]
    if sources[0].op == "cast":
        sources[0] = sources[0].args[0]
    a, b = sources
    return a.op == b.op == "load" and not a.args and not b.args and a.attr == b.attr


def _is_zero(node: Scalar) -> bool:
    return node.op == "const" and node.attr == 0


def _is_small(node: Scalar) -> bool:
    """Whether a number is far within the integers: a difference of constants and short codes."""
    if node.op == "sub":
        return all(_is_small(a) for a in node.args)
    if node.op == "cast":
        return is_integer(node.args[0].dtype) and node.args[0].dtype.itemsize <= 2
    return node.op == "const" and abs(node.attr) < 1 << 29


def _is_of_positions(node: Scalar) -> bool:
    """Whether an index is part of a value, not only the place of a load."""
    seen, waiting = {id(node)}, [node]
    while waiting:
        current = waiting.pop()
        if current.op in ("axis", "size"):
            return True
        for argument in () if current.op == "load" else current.args:
            if id(argument) not in seen:
                seen.add(id(argument))
                waiting.append(argument)
    return False

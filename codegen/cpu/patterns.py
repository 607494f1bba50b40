"""Expressions that machines have an instruction for."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Attribute

from ...ir import loop
from ...ir.affine import Affine
from ...ir.dims import Shape
from ...ir.scalar import Scalar
from ...ir.types import F32, I32, is_integer


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


def is_nearest(node: Scalar) -> bool:
    """Whether a cast gives the nearest integer of what surely is within the integers."""
    (source,) = node.args
    if node.dtype != I32 or source.op != "round" or source.dtype != F32:
        return False
    high = source.args[0]
    low = high.args[1] if high.op == "select" else high
    pair = [n.args[2] for n in (high, low) if n.op == "select"]
    return len(pair) == 2 and all(_is_small(n) for n in pair)


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

"""Masks of attention that are constants: laid out with queries side by side, as scores are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.affine import Affine
from ....ir.dims import ceildiv
from ....ir.ops.constant import ConstantOp
from .attention_operands import BATCH, HEAD, KEY, QUERY, Operands
from .frame import Packing, static


@dataclass(frozen=True)
class PackedMask:
    """A mask as ``[batch, heads, keys, pitch]``, the first two 1 where it is the same for all.

    Attributes:
        number: Of its buffer.
        form: Where the masks of key 0 begin.
        pitch: How far keys are apart: the number of queries, and some zeros.
        packing: How it is made.
    """

    number: int
    form: Affine
    pitch: int
    packing: Packing


def packed_mask(operands: Operands, unit: int) -> PackedMask | None:
    """The mask if it is a constant with an element for each query and key.

    Rows are as long as ``unit`` divides.
    """
    found = operands.mask_form()
    dims = operands.batch, operands.heads, operands.keys, operands.queries
    if found is None or not all(isinstance(n, int) and n > 0 for n in dims):
        return None
    number, form = found
    steps = [static((form.coefficient(axis),)) for axis in (BATCH, HEAD, KEY, QUERY)]
    if not isinstance(operands.frame.kernel.inputs[number].owner, ConstantOp) or 0 in steps[2:]:
        return None
    batch, heads, keys, queries = (
        static((n,)) if step else 1 for n, step in zip(dims, steps, strict=True)
    )
    pitch, start = ceildiv(queries, unit) * unit, static((form.constant,))
    shape = (batch, heads, keys, pitch)

    def make(array: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(array).reshape(-1)[start:]
        bytes = [step * flat.itemsize for step in steps]
        packed = np.zeros(shape, array.dtype)
        counts = (batch, heads, keys, queries)
        packed[..., :queries] = np.lib.stride_tricks.as_strided(flat, counts, bytes)
        return packed

    plane = keys * pitch
    places = {BATCH: heads * plane * (batch > 1), HEAD: plane * (heads > 1), QUERY: 1}
    place = Affine({axis: step for axis, step in places.items() if step})
    return PackedMask(number, place, pitch, Packing(("mask", shape, *steps, start), shape, make))

"""Masks of attention that are constants: laid out with queries side by side, as scores are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.dims import ceildiv
from ....ir.ops.constant import ConstantOp
from .attention_operands import BATCH, HEAD, KEY, QUERY, Operands
from .frame import Packing, static

# Floats of a cache line.
_LINE = 16


@dataclass(frozen=True)
class PackedMask:
    """A mask in planes ``[keys, pitch]``, each kept once; a table before them tells which is whose.

    Attributes:
        number: Of its buffer.
        batch: How far the entries of neighbours in the batch are apart in the table.
        head: The same for heads.
        pitch: How far keys are apart: the number of queries, and some zeros.
        packing: How it is made.
    """

    number: int
    batch: int
    head: int
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

    def make(array: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(array).reshape(-1)[start:]
        bytes = [step * flat.itemsize for step in steps]
        counts = (batch, heads, keys, queries)
        return _pack(np.lib.stride_tricks.as_strided(flat, counts, bytes), pitch)

    packing = Packing(("mask", batch, heads, keys, pitch, *steps, start), None, make)
    return PackedMask(number, heads * (batch > 1), int(heads > 1), pitch, packing)


def _pack(masks: np.ndarray, pitch: int) -> np.ndarray:
    """The table, then planes at the boundary of a line."""
    *_, keys, queries = masks.shape
    planes = [plane.tobytes() for plane in masks.reshape(-1, keys, queries)]
    numbers = {plane: n for n, plane in enumerate(dict.fromkeys(planes))}
    start = ceildiv(len(planes), _LINE) * _LINE
    table = np.zeros(start, np.int32)
    table[: len(planes)] = [start + numbers[plane] * keys * pitch for plane in planes]
    packed = np.zeros((len(numbers), keys, pitch), masks.dtype)
    for plane, number in numbers.items():
        packed[number, :, :queries] = np.frombuffer(plane, masks.dtype).reshape(keys, queries)
    return np.concatenate([table.view(masks.dtype), packed.reshape(-1)])

"""Weights that are computed on in floats, but were encoded in few bits: stored as their codes.

A kernel's packing moves elements and fills up with zeros. So it moves codes as well; and moving the
number of each element's scale tells which rows share scales in the order of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from ...ir.ops.constant import ConstantOp
from ...ir.ops.quant import spread
from ...ir.types import F32, bit_width, is_float
from ...passes.decode_weights import Origin, origin_of
from .expansion import Codes, Expansion
from .templates.frame import Packing

# Bytes, and what makes them.
Source = tuple[int, Callable[[], np.ndarray]]


def as_codes(constant: ConstantOp, packing: Packing) -> tuple[Expansion, list[Source]] | None:
    """How a weight is made of its codes, scales and zero points; None where floats are as small."""
    origin, expansion = origin_of(constant), packing.expansion
    if origin is None or expansion is None or 0 in expansion.stored or not _are_codes(origin):
        return None
    places = _places(origin, packing, expansion)
    codes = _codes(origin, places, expansion)
    shared = places[:, : codes.parts, :: codes.group]
    rows = -(-expansion.rows // codes.together)
    size = expansion.panels * len(expansion.matrix[0]) * rows * expansion.columns
    scales = shared.size * codes.scale.itemsize
    if size + scales + shared.size * codes.zeros >= F32.itemsize * prod(expansion.stored):
        return None
    given, zero = origin.codes, origin.zero
    sources: list[Source] = [
        (size, lambda: _bytes(packing.pack(_low(given.array, codes)), expansion, codes)),
        (scales, lambda: _gathered(origin.scale.array, shared)),
    ]
    if zero is not None:
        sources.append((shared.size, lambda: _gathered(_low(zero.array, codes), shared)))
    return expansion.with_codes(codes), sources


def _are_codes(origin: Origin) -> bool:
    dtype, scale = origin.codes.type.dtype, origin.scale.type.dtype
    return not is_float(dtype) and bit_width(dtype) <= 8 and scale.itemsize <= F32.itemsize


def _places(origin: Origin, packing: Packing, expansion: Expansion) -> np.ndarray:
    """For each element in the order of the kernel, the number of its scale, from 1; 0: filling."""
    scale = origin.scale.type
    numbers = np.arange(1, scale.size + 1, dtype=np.int32).reshape(scale.shape)
    wide = np.broadcast_to(spread(numbers, origin.blocks), origin.codes.type.shape)
    return packing.pack(wide).reshape(expansion.stored)


def _codes(origin: Origin, places: np.ndarray, expansion: Expansion) -> Codes:
    parts = 1 if (places == places[:, :1]).all() else places.shape[1]
    group = next(g for g in _divisors(expansion.rows) if _share(places[:, :parts], g))
    dtypes = origin.codes.type.dtype, origin.scale.type.dtype
    return Codes(*dtypes, group, parts, origin.zero is not None)


def _divisors(rows: int) -> list[int]:
    """Numbers of rows that share scales, the largest first."""
    return [g for g in range(rows, 0, -1) if rows % g == 0]


def _share(places: np.ndarray, group: int) -> bool:
    panels, parts, rows, columns = places.shape
    groups = places.reshape(panels, parts, rows // group, group, columns)
    return bool((groups == groups[:, :, :, :1]).all())


def _low(array: np.ndarray, codes: Codes) -> np.ndarray:
    """Codes or zero points as bytes without a sign."""
    return (array.astype(np.int16) - codes.least).astype(np.uint8)


def _bytes(low: np.ndarray, expansion: Expansion, codes: Codes) -> np.ndarray:
    """Codes of neighbouring rows in the bits of a byte."""
    panels, parts, rows, columns = expansion.stored
    fill = [(0, 0), (0, 0), (0, -rows % codes.together), (0, 0)]
    apart = np.pad(low.reshape(expansion.stored), fill)
    apart = apart.reshape(panels, parts, -1, codes.together, columns)
    shifts = np.arange(codes.together, dtype=np.uint8) * np.uint8(codes.bits)
    return np.bitwise_or.reduce(apart << shifts[:, None], axis=3)


def _gathered(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Scales or zero points by their numbers; 0 where there are none."""
    return np.concatenate([np.zeros(1, values.dtype), values.reshape(-1)])[places]

"""Importers of signal processing: a Fourier transform is a product with a constant matrix."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Dim, floordiv
from ...ir.errors import InvalidModelError
from ...ir.ops import elementwise as e
from ...ir.ops.index import GatherOp
from ...ir.ops.matmul import MatmulOp
from ...ir.types import type_of
from .dtypes import dtype_of
from .node import Node
from .refusal import Refusal
from .registry import importer

_MATRIX_LIMIT = 1 << 22


@importer("DFT")
def dft_by_attribute(node: Node) -> SSAValue:
    """Along an axis that is an attribute."""
    return _dft(node, node.attribute("axis", 1))


@importer("DFT", since=20)
def dft(node: Node) -> SSAValue:
    """Along an axis that is an operand."""
    return _dft(node, node.integer(2, -2))


@importer("STFT")
def stft(node: Node) -> SSAValue:
    """A Fourier transform of every frame of a signal, under a window."""
    signal, window = node.type(), node.optional(2)
    length = signal.shape[1] if window is None else type_of(window).shape[0]
    length, step = node.dim(3, length), node.integer(1)
    frames = floordiv(signal.shape[1] - length, step) + 1
    first = node.add(e.MulOp(node.iota(frames), node.sizes(step)))
    places = node.add(e.AddOp(node.reshape(first, (frames, 1)), node.iota(length)))
    cut = node.add(GatherOp(node.input(), places, axis=1))
    if window is not None:
        cut = node.add(e.MulOp(cut, node.reshape(window, (length, 1))))
    onesided = bool(node.attribute("onesided", 1))
    return _transformed(node, cut, _fixed(length), inverse=False, onesided=onesided)


@importer("MelWeightMatrix")
def mel_weight_matrix(node: Node) -> SSAValue:
    """Triangular filters on the mel scale (Stevens, Volkmann and Newman, 1937)."""
    bands, length, rate = (node.integer(k) for k in range(3))
    if min(bands, length, rate) < 1 or bands * length > _MATRIX_LIMIT:
        raise Refusal(f"{bands} bands of {length} elements at {rate} Hz are not supported")
    edges = [float(v.reshape(())) for v in (node.known(3), node.known(4)) if v is not None]
    low, high = (2595 * np.log10(1 + f / 700) for f in edges)
    mels = low + np.arange(bands + 2) * (high - low) / (bands + 2)
    places = ((length + 1) * 700 * (10 ** (mels / 2595) - 1) // rate).astype(np.int64)
    bins = np.arange(length // 2 + 1)[:, np.newaxis]
    left, center, right = places[:-2], places[1:-1], places[2:]
    rising = (bins - left) / np.maximum(center - left, 1)
    falling = (right - bins) / np.maximum(right - center, 1)
    matrix = np.where((bins >= left) & (bins < center), rising, 0)
    matrix = np.where((bins > center) & (bins < right), falling, matrix)
    matrix = np.where(bins == center, 1, matrix)
    return node.constant(matrix, dtype_of(node.attribute("output_datatype", 1)))


def _dft(node: Node, axis: int) -> SSAValue:
    x, inverse = node.type(), bool(node.attribute("inverse", 0))
    onesided = bool(node.attribute("onesided", 0))
    axis = node.counted(axis, x.rank)
    if axis == x.rank - 1:
        raise InvalidModelError(f"node '{node.source}': the last dim holds complex numbers")
    perm = [k for k in range(x.rank - 1) if k != axis]
    lines = node.transpose(node.input(), [*perm, axis, x.rank - 1])
    default = (x.shape[axis] - 1) * 2 if inverse and onesided else x.shape[axis]
    result = _transformed(node, lines, _fixed(node.dim(1, default)), inverse, onesided)
    back = [*range(axis), x.rank - 2, *range(axis, x.rank - 2), x.rank - 1]
    return node.transpose(result, back)


def _transformed(
    node: Node, lines: SSAValue, length: int, inverse: bool, onesided: bool
) -> SSAValue:
    """``[…, n, 1 or 2]`` to ``[…, K, 1 or 2]``: one matrix for both parts of the numbers."""
    *outer, n, parts = type_of(lines).shape
    count = _fixed(n)
    if count * length > _MATRIX_LIMIT:
        raise Refusal(f"a Fourier transform of {length} elements is too long")
    matrix = _inverse_real(count, length) if inverse and onesided else None
    if matrix is None:
        matrix = _fourier(count, length, inverse, length // 2 + 1 if onesided else length)
    matrix = matrix[:, : _fixed(parts)]
    kept = matrix.shape[2:]
    constant = node.constant(matrix.reshape(count * _fixed(parts), -1), type_of(lines).dtype)
    flat = node.reshape(lines, (*outer, count * _fixed(parts)))
    flat = flat if outer else node.reshape(flat, (1, count * _fixed(parts)))
    return node.reshape(node.add(MatmulOp(flat, constant)), (*outer, *kept))


def _fourier(count: int, length: int, inverse: bool, kept: int) -> np.ndarray:
    """``[n, 2, K, 2]``: from both parts of n elements to both parts of K results."""
    cos, sin = _waves(count, length, kept)
    sin = sin if inverse else -sin
    matrix = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)
    matrix[length:] = 0
    return matrix / length if inverse else matrix


def _inverse_real(count: int, length: int) -> np.ndarray:
    """``[n, 2, length, 1]``: from one side of a spectrum to a real signal."""
    cos, sin = _waves(count, length, length)
    sides = np.full((count, 1, 1, 1), 2.0)
    sides[0] = 1
    if length % 2 == 0 and length // 2 < count:
        sides[length // 2] = 1
    sides[length // 2 + 1 :] = 0
    return np.stack([cos, -sin], 1)[..., np.newaxis] * sides / length


def _waves(count: int, length: int, kept: int) -> tuple[np.ndarray, np.ndarray]:
    angles = np.outer(np.arange(count), np.arange(kept)) % length * (2 * np.pi / length)
    return np.cos(angles), np.sin(angles)


def _fixed(size: Dim) -> int:
    if not isinstance(size, int) or size < 1:
        raise Refusal(f"a Fourier transform of size {size}: a fixed size is needed")
    return size

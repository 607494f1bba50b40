"""Rounding whole weights to grids: nearest, and GPTQ, which makes good each error by later inputs.

GPTQ is the method of Frantar et al., "GPTQ: Accurate post-training quantization for generative
pre-trained transformers", 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .grid import Grid
from .hessian import inverse_factor

# Inputs whose errors are spread over the later ones at once.
_BLOCK = 128
Fit = Callable[[np.ndarray, np.ndarray | None], Grid]


@dataclass(frozen=True)
class Rounded:
    """Codes ``[inputs, outputs]``; scales and zero points ``[chunks, outputs]``."""

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def values(self, chunks: Sequence[slice]) -> np.ndarray:
        """What the codes mean."""
        sizes = [c.stop - c.start for c in chunks]
        scale, zero = (np.repeat(v, sizes, axis=0) for v in (self.scale, self.zero))
        return (self.codes - zero) * scale


def chunks_of(inputs: int, segment: int, group: int) -> list[slice]:
    """The inputs that share a scale: ``group`` neighbours of a segment, all of them for 0."""
    if group == 0:
        return [slice(0, inputs)]
    return [
        slice(start, min(start + group, first + segment))
        for first in range(0, inputs, segment)
        for start in range(first, first + segment, group)
    ]


def nearest(
    weight: np.ndarray, chunks: Sequence[slice], fit: Fit, importance: np.ndarray | None = None
) -> Rounded:
    """Every weight to the nearest level; ``importance`` of the inputs is for the fit."""
    grids = [fit(weight[c], None if importance is None else importance[c]) for c in chunks]
    codes = [g.codes(weight[chunk]) for g, chunk in zip(grids, chunks, strict=True)]
    return _rounded(np.concatenate(codes), grids)


def gptq(weight: np.ndarray, chunks: Sequence[slice], fit: Fit, hessian: np.ndarray) -> Rounded:
    """One input after the other; what its rounding breaks, the inputs behind it repair.

    Weights that are 0 stay 0. A grid is fitted when its first input is reached.
    """
    left = weight.astype(np.float64)
    pruned = left == 0
    importance = np.diagonal(hessian)
    factor = inverse_factor(hessian)
    codes, grids = np.empty_like(left), []
    for chunk in chunks:
        grids.append(fit(left[chunk], importance[chunk]))
        for start in range(chunk.start, chunk.stop, _BLOCK):
            block = slice(start, min(start + _BLOCK, chunk.stop))
            codes[block] = _round_block(left, pruned, grids[-1], factor, block)
    return _rounded(codes, grids)


def _round_block(
    left: np.ndarray, pruned: np.ndarray, grid: Grid, factor: np.ndarray, block: slice
) -> np.ndarray:
    """The codes of a block; ``left`` gets what remains to be done behind it."""
    part, inner = left[block], factor[block, block]
    codes, errors = np.empty_like(part), np.empty_like(part)
    for k, row in enumerate(part):
        codes[k] = np.where(pruned[block][k], grid.zero, grid.codes(row))
        errors[k] = (row - grid.values(codes[k])) / inner[k, k]
        part[k + 1 :] -= np.outer(inner[k, k + 1 :], errors[k])
    left[block.stop :] -= factor[block, block.stop :].T @ errors
    return codes


def _rounded(codes: np.ndarray, grids: Sequence[Grid]) -> Rounded:
    return Rounded(codes, np.stack([g.scale for g in grids]), np.stack([g.zero for g in grids]))

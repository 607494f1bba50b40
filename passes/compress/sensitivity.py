"""How much noise each layer's result gets by compression, before it is chosen how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .allocate import Curve, shared_out
from .grid import Levels, best_range
from .hessian import Moments
from .layers import Layer
from .masks import pruned
from .recipe import Quantize, Sparsify
from .report import energy
from .rounding import chunks_of, nearest

# Shares of zeros at which the noise is measured, and those between that may be chosen.
_MEASURED = (0.0, 0.2, 0.35, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98)
_SHARES = np.linspace(0, 0.98, 99)
# How far a layer may be from what is asked for, in weights, as a share of the mean layer: what one
# is spared others lose, and those whose results hardly vary seem to lose less than they do. (Layers
# of large models: Yin et al., "Outlier Weighed Layerwise Sparsity", 2024.)
_FARTHEST = 0.1
_BITS = (2, 4, 8)
_TINY = 1e-9


def sparsities(
    layers: Sequence[tuple[Layer, Sparsify]], moments: dict[Layer, Moments]
) -> list[float]:
    """The share of zeros of each layer, all together those that the options ask for."""
    sizes = [layer.weight().size for layer, _ in layers]
    most = _FARTHEST * float(np.mean(sizes or [0]))
    curves = [_pruning(layer, options, moments.get(layer), most) for layer, options in layers]
    wanted = sum(n * (1 - o.sparsity) for n, (_, o) in zip(sizes, layers, strict=True))
    return [float(_SHARES[k]) for k in shared_out(curves, wanted)]


def bits(layers: Sequence[tuple[Layer, Quantize]], moments: dict[Layer, Moments]) -> list[int]:
    """The bits of the weights of each layer, with the mean that the options ask for."""
    curves = [_rounding(layer, options, moments.get(layer)) for layer, options in layers]
    sizes = [layer.weight().size for layer, _ in layers]
    wanted = sum(n * o.average for n, (_, o) in zip(sizes, layers, strict=True))
    return [_BITS[k] for k in shared_out(curves, wanted)]


def _pruning(layer: Layer, options: Sparsify, moments: Moments | None, most: float) -> Curve:
    """Measured where the weights are gone that matter least, by their size and their input's.

    Shares that are more than ``most`` weights from what is asked for are out of the question.
    """
    matrices = layer.matrices()
    scores = [np.abs(m) * _sizes(moments, group) for group, m in enumerate(matrices)]

    def noise(share: float) -> float:
        chosen = replace(options, sparsity=share)
        left = [np.where(pruned(s, chosen), 0, m) for s, m in zip(scores, matrices, strict=True)]
        return _noise(matrices, left, moments)

    measured = np.log(np.array([noise(share) for share in _MEASURED]) + _TINY)
    smooth = np.exp(np.interp(_SHARES, _MEASURED, measured))
    step = _SHARES[1] * matrices.size
    near = np.abs(_SHARES - options.sparsity) * matrices.size <= most + step
    return Curve((1 - _SHARES) * matrices.size, np.where(near, smooth, np.inf))


def _rounding(layer: Layer, options: Quantize, moments: Moments | None) -> Curve:
    matrices = layer.matrices()
    chunks = chunks_of(layer.inputs, layer.segment, options.group)

    def noise(count: int) -> float:
        levels = Levels(count, options.symmetric)
        rounded = [nearest(m, chunks, lambda part, _: best_range(part, levels)) for m in matrices]
        return _noise(matrices, [r.values(chunks) for r in rounded], moments)

    return Curve(
        np.array(_BITS) * float(matrices.size), np.array([noise(count) for count in _BITS])
    )


def _sizes(moments: Moments | None, group: int) -> np.ndarray | float:
    """The root mean square of each input, as a column."""
    if moments is None:
        return 1.0
    return np.sqrt(np.diagonal(moments.hessian(group)))[:, None]


def _noise(wanted: np.ndarray, got: Sequence[np.ndarray], moments: Moments | None) -> float:
    """The noise in a layer's result, as a share of it."""
    signal = noise = 0.0
    for group, (exact, other) in enumerate(zip(wanted, got, strict=True)):
        hessian = moments.hessian(group) if moments else None
        signal += energy(exact.astype(np.float64), hessian)
        noise += energy(other - exact.astype(np.float64), hessian)
    return noise / (signal or 1.0)

"""Weights become integers of few bits that are decoded where they are read.

%w = "mlc.constant"()                    %q = "mlc.constant"()             [768, 768] ui4
%y = "mlc.matmul"(%x, %w)         ->     %w = "mlc.dequantize"(%q, %scale, %zero)
                                         %y = "mlc.matmul"(%x, %w)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ...ir.ops.constant import ConstantOp
from ...ir.ops.quant import DequantizeOp
from ...ir.types import type_of
from .grid import Grid, Levels, best_range, half_quadratic, whole_range
from .hessian import Moments, mean_change
from .layers import Layer
from .recipe import Quantize
from .report import Step, sqnr
from .rounding import Rounded, chunks_of, gptq, nearest
from .samples import Samples
from .sensitivity import bits
from .weight_pass import WeightPass


@dataclass(frozen=True)
class QuantizeWeights(WeightPass[Quantize]):
    """Rounds the weights of all layers that the recipe names; ``samples`` are for GPTQ and AWQ."""

    name = "quantize-weights"

    def asked(self, layer: str) -> Quantize | None:
        """With the method that is meant."""
        options = self.recipe.quantize_of(layer)
        return resolved(options, self.samples) if options else None

    def apply(self, module: ModuleOp) -> None:
        """Puts decoded integers in the place of float constants."""
        todo = self.todo(module)
        moments = self.moments(module, [layer for layer, a in todo if uses_data(a)])
        todo = _allocated(todo, moments)
        for layer, asked in self.report.each("round weights", todo):
            self.report.add(quantize_layer(layer, asked, moments.get(layer)))


def uses_data(options: Quantize) -> bool:
    """Whether the inputs of a layer tell how its weight is rounded."""
    return options.needs_data() or options.average > 0


def _allocated(
    todo: list[tuple[Layer, Quantize]], moments: dict[Layer, Moments]
) -> list[tuple[Layer, Quantize]]:
    """With the bits of each layer where a mean was asked for."""
    shared = [(layer, o) for layer, o in todo if o.average > 0]
    found = dict(zip((layer for layer, _ in shared), bits(shared, moments), strict=True))
    return [(layer, replace(o, bits=found.get(layer, o.bits))) for layer, o in todo]


def resolved(options: Quantize, samples: Samples | None) -> Quantize:
    """With the method that ``auto`` is; integer kernels take symmetric weights."""
    method = ("gptq" if samples else "hqq") if options.method == "auto" else options.method
    symmetric = options.symmetric or options.scheme != "weights"
    return replace(options, method=method, symmetric=symmetric)


def quantize_layer(layer: Layer, options: Quantize, moments: Moments | None) -> Step:
    """Rounds the weight of one layer, and says how well."""
    chunks = chunks_of(layer.inputs, layer.segment, options.group)
    levels = Levels(options.bits, options.symmetric)
    before = layer.matrices()
    parts = [
        _round(matrix, chunks, levels, options, moments and moments.hessian(group))
        for group, matrix in enumerate(before if moments else _side_by_side(before))
    ]
    arrays = [[part.codes, part.scale, part.zero, part.values(chunks)] for part in parts]
    codes, scale, zero, after = (
        _apart(np.stack(some), layer.groups) for some in zip(*arrays, strict=True)
    )
    _place(layer, options, levels, codes, scale, zero)
    if options.correct_bias and moments:
        layer.shift(mean_change(before, after, moments))
    hessian = moments.hessian(0) if moments else None
    return Step(
        layer.name,
        options.text(),
        f"{'' if options.symmetric else 'u'}int{options.bits} {options.method}",
        sqnr=sqnr(before[0], after[0], hessian),
    )


def _side_by_side(groups: np.ndarray) -> np.ndarray:
    """``[groups, inputs, outputs]`` as ``[1, inputs, groups * outputs]``: quicker, all the same."""
    return groups.transpose(1, 0, 2).reshape(1, groups.shape[1], -1)


def _apart(array: np.ndarray, groups: int) -> np.ndarray:
    """As many groups again, if they are side by side."""
    if len(array) == groups:
        return array
    return array.reshape(array.shape[1], groups, -1).transpose(1, 0, 2)


def fitted(options: Quantize, levels: Levels, part: np.ndarray, weigh: np.ndarray | None) -> Grid:
    """The grid that ``options`` want for weights that share a scale.

    Scales of what is read as codes are rounded to f16, so that they take half the bytes.
    """
    plain = options.method == "nearest" or options.bits == 8
    if options.method == "hqq":
        grid = half_quadratic(part, levels)
    else:
        grid = whole_range(part, levels) if plain else best_range(part, levels, weigh)
    return grid.in_halves() if options.scheme == "weights" else grid


def stored_scale(scale: np.ndarray) -> np.ndarray:
    """Scales in f16 where that holds all of them exactly, else in f32."""
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    return half if np.array_equal(half.astype(scale.dtype), scale) else scale.astype(np.float32)


def _round(
    matrix: np.ndarray,
    chunks: list[slice],
    levels: Levels,
    options: Quantize,
    hessian: np.ndarray | None,
) -> Rounded:
    fit = partial(fitted, options, levels)
    if options.method == "gptq" and hessian is not None:
        return gptq(matrix, chunks, fit, hessian)
    return nearest(matrix, chunks, fit, None if hessian is None else np.diagonal(hessian))


def _place(
    layer: Layer,
    options: Quantize,
    levels: Levels,
    codes: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
) -> None:
    """Puts constants and the decoding into the graph."""
    dtype = type_of(layer.op.operands[1]).dtype
    arrays = [
        layer.as_weight(codes).astype(np.float32).astype(levels.dtype),
        stored_scale(_scales(layer, options, scale)),
    ]
    if not levels.symmetric:
        arrays.append(_scales(layer, options, zero).astype(np.float32).astype(levels.dtype))
    uneven = options.group and layer.segment % options.group
    blocks = (*[1] * (len(layer.shape) - 2), options.group, 1) if uneven else None
    constants = [layer.add(ConstantOp.of(a)) for a in arrays]
    layer.use(layer.add(DequantizeOp(*constants, blocks=blocks, to=dtype)))


def _scales(layer: Layer, options: Quantize, values: np.ndarray) -> np.ndarray:
    """``[groups, chunks, outputs]`` with the rank of the weight."""
    if options.group:
        return layer.as_weight(values)
    return values.reshape(*[1] * (len(layer.shape) - 1), -1)

"""What a layer reads becomes integers of 8 bits, so that its product is one of integers.

    %y = "mlc.matmul"(%x, %w)   ->   %q = "mlc.quantize"(%x, %scale, %zero)
                                     %d = "mlc.dequantize"(%q, %scale, %zero)
                                     %y = "mlc.matmul"(%d, %w)

Static scales are constants that follow from calibration: one for a value, whoever reads it. Dynamic
ones are computed: one for each row of a matrix, one for a whole image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import AbsOp, MaxOp, MulOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.quant import DequantizeOp, QuantizeOp
from ...ir.ops.reduce import ReduceMaxOp
from ...ir.types import DTYPES, type_of
from .grid import Grid
from .layers import Layer, layers_of
from .ranges import ACTIVATION, Histogram, grid_of, sqnr_of
from .recipe import Quantize
from .report import Step
from .weight_pass import WeightPass

# The least scale, so that rows of zeros stay zeros.
_TINY = 1e-30


@dataclass(frozen=True)
class QuantizeActivations(WeightPass[Quantize]):
    """Quantizes what all layers read for which the recipe names a static or dynamic scheme.

    ``samples`` are for static scales.
    """

    name = "quantize-activations"

    def asked(self, layer: str) -> Quantize | None:
        """Schemes for weights alone ask for nothing here."""
        options = self.recipe.quantize_of(layer)
        return options if options and options.scheme != "weights" else None

    def apply(self, module: ModuleOp) -> None:
        """Puts a quantization, and its inverse, before layers."""
        todo = [(layer, o) for layer in layers_of(module) if (o := self.asked(layer.name))]
        static = [layer.input for layer, options in todo if options.scheme == "static"]
        seen = self._histograms(module, list(dict.fromkeys(static)))
        made: dict[tuple[SSAValue, str, str, bool], SSAValue] = {}
        for layer, options in todo:
            matrix = isinstance(layer.op, MatmulOp)
            key = (layer.input, options.scheme, options.range, matrix)
            self.report.add(_step(layer, options, seen))
            if key not in made:
                made[key] = _quantized(layer, options, seen)
            layer.use(made[key], 0)

    def _histograms(self, module: ModuleOp, values: list[SSAValue]) -> dict[SSAValue, Histogram]:
        found = {value: Histogram() for value in values}
        if self.samples and values:
            self.samples.watch(module, values, lambda k, array: found[values[k]].add(array))
        return found


def _quantized(layer: Layer, options: Quantize, seen: dict[SSAValue, Histogram]) -> SSAValue:
    if options.scheme == "static":
        return _static(layer, grid_of(seen[layer.input], options.range))
    scale = _row_scale(layer)
    codes = layer.add(QuantizeOp(layer.input, scale, to=DTYPES["i8"]))
    return layer.add(DequantizeOp(codes, scale))


def _static(layer: Layer, grid: Grid) -> SSAValue:
    dtype = type_of(layer.input).dtype
    scale = layer.add(ConstantOp.of(np.asarray(grid.scale).astype(dtype)))
    zero = layer.add(ConstantOp.of(np.asarray(grid.zero).astype(ACTIVATION.dtype)))
    codes = layer.add(QuantizeOp(layer.input, scale, zero, to=ACTIVATION.dtype))
    return layer.add(DequantizeOp(codes, scale, zero))


def _row_scale(layer: Layer) -> SSAValue:
    """``max |x| / 127`` over a row, or over all of an image."""
    type = type_of(layer.input)
    axes = (type.rank - 1,) if isinstance(layer.op, MatmulOp) else tuple(range(type.rank))
    largest = layer.add(ReduceMaxOp(layer.add(AbsOp(layer.input)), axes=axes, keepdims=True))
    share = layer.add(ConstantOp.of(np.array(1 / 127).astype(type.dtype)))
    least = layer.add(ConstantOp.of(np.array(_TINY).astype(type.dtype)))
    return layer.add(MaxOp(layer.add(MulOp(largest, share)), least))


def _step(layer: Layer, options: Quantize, seen: dict[SSAValue, Histogram]) -> Step:
    asked = f"{options.scheme} int8 activations"
    if options.scheme == "dynamic":
        return Step(layer.name, asked, "one scale a row at run time")
    histogram = seen[layer.input]
    noise = sqnr_of(histogram, grid_of(histogram, options.range))
    return Step(layer.name, asked, f"one scale by {options.range}", sqnr=noise)

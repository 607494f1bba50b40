"""Importers of what finds scale and zero point when the run knows a tensor: PT2E's dynamic form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from xdsl.ir import SSAValue

from ...ir.ops import elementwise as e
from ...ir.ops.reduce import ReduceMaxOp, ReduceMinOp
from ...ir.types import F32, type_of
from .registry import Node, importer

# What torch takes for a row of zeros; the codes of a row.
_LEAST_OF_ROW, _FIRST, _LARGEST = 1e-5, -128, 127
_MIDDLE = 128


@importer("quantized_decomposed::choose_qparams")
def choose_qparams(node: Node) -> list[SSAValue]:
    """What maps the range of a tensor, and 0, to all codes."""
    low, high = _range(node)
    first, last = (node.constant(node.arg(n), F32) for n in ("quant_min", "quant_max"))
    steps = node.arg("quant_max") - node.arg("quant_min")
    scale = _scale(node, node.add(e.SubOp(high, low)), steps)
    zero = node.add(e.SubOp(first, node.add(e.RoundOp(node.add(e.DivOp(low, scale))))))
    return _given(node, scale, _between(node, zero, first, last))


@importer("quantized_decomposed::choose_qparams_symmetric")
def choose_qparams_symmetric(node: Node) -> list[SSAValue]:
    """What maps the largest magnitude to the last code, and 0 to the middle of all."""
    low, high = _range(node)
    largest = node.add(e.MaxOp(node.add(e.NegOp(low)), high))
    scale = _scale(node, largest, (node.arg("quant_max") - node.arg("quant_min")) / 2)
    middle = _MIDDLE if node.arg("dtype") == torch.uint8 else 0
    return _given(node, scale, node.constant(middle, F32))


@importer("quantized_decomposed::choose_qparams_per_token")
def choose_qparams_per_token(node: Node) -> list[SSAValue]:
    """What maps the largest magnitude of each row to the last code, and 0 to 0."""
    x = node.cast(node.add(e.AbsOp(node.input())), F32)
    largest = node.add(ReduceMaxOp(x, axes=(type_of(x).rank - 1,), keepdims=True))
    largest = node.add(e.MaxOp(largest, node.constant(_LEAST_OF_ROW, F32)))
    scale = node.add(e.DivOp(largest, node.constant(_LARGEST, F32)))
    zeros = node.broadcast(node.constant(0, F32), type_of(scale).shape)
    return _given(node, scale, zeros)


@importer("quantized_decomposed::choose_qparams_per_token_asymmetric")
def choose_qparams_per_token_asymmetric(node: Node) -> list[SSAValue]:
    """What maps the range of each row, and 0, to all codes; the nearer end of the range is met."""
    low, high = _range(node, (node.type().rank - 1,))
    first, last = (node.constant(v, F32) for v in (_FIRST, _LARGEST))
    scale = node.add(e.DivOp(node.add(e.SubOp(high, low)), node.constant(_LARGEST - _FIRST, F32)))
    scale = node.add(e.MaxOp(scale, node.constant(np.finfo(F32).eps, F32)))
    ends = [node.add(e.DivOp(v, scale)) for v in (low, high)]
    errors = [node.add(e.AddOp(c, v)) for c, v in zip((first, last), ends, strict=True)]
    further = node.add(e.GtOp(node.add(e.AddOp(*errors)), node.constant(0, F32)))
    zeros = [node.add(e.SubOp(c, v)) for c, v in zip((first, last), ends, strict=True)]
    zero = node.add(e.SelectOp(further, *zeros))
    return _given(node, scale, node.add(e.RoundOp(_between(node, zero, first, last))))


def _range(node: Node, row: Sequence[int] = ()) -> tuple[SSAValue, SSAValue]:
    """The least and the largest element, and 0; of each row along the axes ``row``."""
    x, zero = node.cast(node.input(), F32), node.constant(0, F32)
    axes = {"axes": tuple(row or range(type_of(x).rank)), "keepdims": bool(row)}
    low, high = (node.add(reduced(x, **axes)) for reduced in (ReduceMinOp, ReduceMaxOp))
    return node.add(e.MinOp(low, zero)), node.add(e.MaxOp(high, zero))


def _scale(node: Node, reach: SSAValue, steps: float) -> SSAValue:
    scale = node.add(e.DivOp(reach, node.constant(steps, F32)))
    return node.add(e.MaxOp(scale, node.constant(node.arg("eps"), F32)))


def _between(node: Node, value: SSAValue, first: SSAValue, last: SSAValue) -> SSAValue:
    return node.add(e.MinOp(node.add(e.MaxOp(value, first)), last))


def _given(node: Node, *values: SSAValue) -> list[SSAValue]:
    """Scale and zero point in the dtypes and shapes that torch gives them."""
    pairs = zip(values, node.results, strict=True)
    return [node.reshape(node.cast(v, t.dtype), t.shape) for v, t in pairs]

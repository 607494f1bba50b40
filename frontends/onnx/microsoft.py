"""Importers of ONNX Runtime's own operators, which its optimizer leaves in models."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import SSAValue

from ...ir.op import GraphOp
from ...ir.ops import elementwise as e
from ...ir.ops import norm
from ...ir.ops.index import GatherOp
from ...ir.types import type_of
from .conv import convolved, of_channels
from .matmul import gemm, product
from .node import Node, Value
from .refusal import Refusal
from .registry import ImporterT, importer
from .shape import cut

_QUICK = 1.702
_FUSED: dict[str, type[GraphOp]] = {"Relu": e.ReluOp, "Sigmoid": e.SigmoidOp, "Tanh": e.TanhOp}


def microsoft(*names: str) -> Callable[[ImporterT], ImporterT]:
    """Registers an importer for operators of ONNX Runtime."""
    return importer(*names, domain="com.microsoft")


@microsoft("Gelu", "BiasGelu")
def gelu(node: Node) -> SSAValue:
    """Exact, of the sum with a bias where there is one."""
    return node.add(e.GeluOp(_with_bias(node)))


@microsoft("FastGelu")
def fast_gelu(node: Node) -> SSAValue:
    """By tanh, of the sum with a bias where there is one."""
    return node.add(e.GeluOp(_with_bias(node), approximate=True))


@microsoft("QuickGelu")
def quick_gelu(node: Node) -> SSAValue:
    """``x * sigmoid(alpha * x)``."""
    x, dtype = node.input(), node.type().dtype
    scaled = node.add(e.MulOp(x, node.constant(node.attribute("alpha", _QUICK), dtype)))
    return node.add(e.MulOp(x, node.add(e.SigmoidOp(scaled))))


@microsoft("FusedMatMul", "TransposeMatMul")
def fused_matmul(node: Node) -> SSAValue:
    """``alpha * op(a) @ op(b)``."""
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        raise Refusal("transposed batch dims are not supported")
    a, b = _turned(node, 0, "transA"), _turned(node, 1, "transB")
    result, alpha = product(node, a, b), node.attribute("alpha", 1.0)
    if alpha == 1.0:
        return result
    return node.add(e.MulOp(result, node.constant(alpha, type_of(result).dtype)))


@microsoft("FusedGemm")
def fused_gemm(node: Node) -> SSAValue:
    """Gemm and an activation."""
    return _activated(node, gemm(node))


@microsoft("FusedConv")
def fused_conv(node: Node) -> SSAValue:
    """Convolution, bias, a summand, and an activation."""
    result = convolved(node, node.input(0), node.input(1))
    rank, bias, summand = type_of(result).rank, node.optional(2), node.optional(3)
    if bias is not None:
        result = node.add(e.AddOp(result, of_channels(node, bias, rank)))
    if summand is not None:
        result = node.add(e.AddOp(result, summand))
    return _activated(node, result)


@importer("SimplifiedLayerNormalization")
@microsoft("SimplifiedLayerNormalization")
def simplified_layer_normalization(node: Node) -> SSAValue:
    """Over the dims from ``axis`` on, by the root of the mean square."""
    axis = node.axis(-1)
    scale = node.cast(node.input(1), node.type().dtype)
    return node.add(norm.RmsNormOp(node.input(), scale, axis=axis, epsilon=_epsilon(node)))


@microsoft("SkipLayerNormalization")
def skip_layer_normalization(node: Node) -> list[Value]:
    """Of a sum; which is the fourth output."""
    total = _skipped(node, node.optional(4))
    bias = node.optional(3)
    weights = [node.input(2), *([] if bias is None else [bias])]
    axis = type_of(total).rank - 1
    op = norm.LayerNormOp(total, *weights, axis=axis, epsilon=_epsilon(node))
    return [node.add(op), None, None, total]


@microsoft("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(node: Node) -> list[Value]:
    """Of a sum; which is the fourth output."""
    total = _skipped(node, node.optional(3))
    axis = type_of(total).rank - 1
    op = norm.RmsNormOp(total, node.input(2), axis=axis, epsilon=_epsilon(node))
    return [node.add(op), None, None, total]


@microsoft("EmbedLayerNormalization")
def embed_layer_normalization(node: Node) -> list[Value]:
    """The sum of embeddings of words, positions and segments, normalised."""
    words, segments, mask = node.input(0), node.optional(1), node.optional(7)
    if mask is not None and node.wants(1):
        raise Refusal("the index of the mask is not supported")
    length = node.type().shape[1]
    places = node.optional(8)
    total = node.add(GatherOp(node.input(2), words))
    positions = cut(node, node.input(3), 0, 0, length)
    if places is not None:
        positions = node.add(GatherOp(node.input(3), places))
    total = node.add(e.AddOp(total, positions))
    if segments is not None:
        total = node.add(e.AddOp(total, node.add(GatherOp(node.input(4), segments))))
    epsilon = float(node.attribute("epsilon", 1e-12))
    op = norm.LayerNormOp(total, node.input(5), node.input(6), axis=2, epsilon=epsilon)
    return [node.add(op), None, total]


def _epsilon(node: Node) -> float:
    return float(node.attribute("epsilon", 1e-5))


def _with_bias(node: Node) -> SSAValue:
    bias = node.optional(1)
    return node.input() if bias is None else node.add(e.AddOp(node.input(), bias))


def _turned(node: Node, index: int, attribute: str) -> SSAValue:
    rank = node.type(index).rank
    if not node.attribute(attribute, 0) or rank < 2:
        return node.input(index)
    return node.transpose(node.input(index), [*range(rank - 2), rank - 1, rank - 2])


def _skipped(node: Node, bias: SSAValue | None) -> SSAValue:
    total = node.add(e.AddOp(node.input(0), node.input(1)))
    return total if bias is None else node.add(e.AddOp(total, bias))


def _activated(node: Node, x: SSAValue) -> SSAValue:
    name = node.attribute("activation", "")
    if name and name not in _FUSED:
        raise Refusal(f"the activation {name} is none of {', '.join(_FUSED)}")
    return node.add(_FUSED[name](x)) if name else x

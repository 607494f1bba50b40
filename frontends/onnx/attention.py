"""Importers of attention and rotary embedding."""

from __future__ import annotations

from functools import reduce

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Dim, floordiv
from ...ir.ops import elementwise as e
from ...ir.ops.attention import AttentionOp, RotaryOp
from ...ir.ops.index import GatherOp
from ...ir.ops.reduce import ReduceMaxOp
from ...ir.ops.shape import ConcatOp, PadOp, dims_param
from ...ir.types import BOOL, I64, type_of
from .node import Node, Value
from .refusal import Refusal
from .registry import importer
from .shape import cut


@importer("Attention")
def attention(node: Node) -> list[Value]:
    """As one op where it can say it; else by onnx's definition."""
    if node.attribute("softcap", 0.0) or node.wants(3):
        return node.expand()
    q, k, v = (_heads(node, index) for index in range(3))
    past, before = node.optional(4), 0
    if past is not None:
        before = type_of(past).shape[2]
        k = node.add(ConcatOp([past, k], axis=2))
        v = node.add(ConcatOp([node.input(5), v], axis=2))
    queries, keys = type_of(q).shape[2], type_of(k).shape[2]
    mask = _padded_mask(node, keys)
    allowed = _allowed(node, queries, keys, before)
    causal = bool(node.attribute("is_causal", 0))
    aligned = causal and before == keys - queries and node.optional(6) is None
    if causal and not (aligned and mask is None and not allowed):
        allowed.append(_at_most(node, _distance(node, queries, keys, before), None, 0))
        causal = False
    bias = _bias(node, mask, allowed)
    result = attended(node, q, k, v, bias, causal)
    return [merged_heads(node, result) if node.type().rank == 3 else result, k, v]


def attended(
    node: Node, q: SSAValue, k: SSAValue, v: SSAValue, bias: SSAValue | None, causal: bool
) -> SSAValue:
    """Attention over heads ``[B, H, S, D]``; 0 for a query that may see no key."""
    masks = [] if bias is None else [bias]
    op = AttentionOp(
        q, k, v, *masks, scale=attention_scale(node, type_of(q).shape[3]), causal=causal
    )
    result = node.add(op)
    if bias is None:
        return result
    dtype = type_of(bias).dtype
    best = node.reduce(ReduceMaxOp, bias, [type_of(bias).rank - 1])
    blind = node.add(e.EqOp(best, node.constant(-np.inf, dtype)))
    return node.add(e.SelectOp(blind, node.constant(0, dtype), result))


def attention_scale(node: Node, features: Dim) -> float:
    """The factor of the scores: given, or by the size of a head."""
    given = node.attribute("scale")
    if given is not None:
        return float(given)
    if not isinstance(features, int):
        raise Refusal(f"the scale is by the size of heads, {features}, which must be known")
    return features**-0.5


@importer("RotaryEmbedding")
def rotary_embedding(node: Node) -> SSAValue:
    """Of ``[B, H, S, D]`` or ``[B, S, H * D]``; features beyond the rotary ones stay."""
    x, flat = node.input(), node.type().rank == 3
    batch, length = node.type().shape[0], node.type().shape[1 if flat else 2]
    if flat:
        heads = node.attribute("num_heads", 0)
        x = node.reshape(x, (batch, length, heads, floordiv(node.type().shape[2], heads)))
    angles = [_angles(node, node.input(k), batch, length, flat) for k in (1, 2)]
    features = type_of(x).shape[3]
    turned = node.attribute("rotary_embedding_dim", 0) or features
    rest = cut(node, x, 3, turned, features)
    interleaved = bool(node.attribute("interleaved", 0))
    result = node.add(RotaryOp(cut(node, x, 3, 0, turned), *angles, interleaved=interleaved))
    if turned != features:
        result = node.add(ConcatOp([result, rest], axis=3))
    return node.reshape(result, node.type().shape)


def _angles(node: Node, cache: SSAValue, batch: Dim, length: Dim, flat: bool) -> SSAValue:
    """Cosines or sines beside x: ``[B, S, 1, D / 2]`` or ``[B, 1, S, D / 2]``."""
    positions = node.optional(3)
    if positions is not None:
        cache = node.add(GatherOp(cache, positions))
    half = type_of(cache).shape[-1]
    return node.reshape(cache, (batch, length, 1, half) if flat else (batch, 1, length, half))


def _heads(node: Node, index: int) -> SSAValue:
    """``[B, S, H * D]`` as ``[B, H, S, D]``."""
    x = node.type(index)
    if x.rank == 4:
        return node.input(index)
    count = node.attribute("kv_num_heads" if index else "q_num_heads")
    return split_heads(node, node.input(index), count)


def split_heads(node: Node, x: SSAValue, count: int) -> SSAValue:
    """``[B, S, H * D]`` as ``[B, H, S, D]`` with ``count`` heads."""
    batch, length, features = type_of(x).shape
    apart = node.reshape(x, (batch, length, count, floordiv(features, count)))
    return node.transpose(apart, (0, 2, 1, 3))


def merged_heads(node: Node, x: SSAValue) -> SSAValue:
    """``[B, H, S, D]`` as ``[B, S, H * D]``."""
    batch, heads, length, features = type_of(x).shape
    return node.reshape(node.transpose(x, (0, 2, 1, 3)), (batch, length, heads * features))


def _padded_mask(node: Node, keys: Dim) -> SSAValue | None:
    """The mask, which does not allow the keys that it lacks."""
    mask = node.optional(3)
    if mask is None or type_of(mask).shape[-1] == keys:
        return mask
    type = type_of(mask)
    fill = node.constant(False if type.dtype == BOOL else -np.inf, type.dtype)
    pads = (*(0,) * (2 * type.rank - 1), keys - type.shape[-1])
    return node.add(PadOp(mask, fill, pads=dims_param(pads)))


def _allowed(node: Node, queries: Dim, keys: Dim, before: Dim) -> list[SSAValue]:
    """What the window and the lengths of the sequences allow."""
    allowed: list[SSAValue] = []
    left, right = (node.attribute(f"{side}_window_size", -1) for side in ("left", "right"))
    if left >= 0 or right >= 0:
        bounds = (None if n < 0 else n for n in (left, right))
        allowed.append(_at_most(node, _distance(node, queries, keys, before), *bounds))
    lengths = node.optional(6)
    if lengths is not None:
        allowed.append(node.add(e.LtOp(node.iota(keys), _of_batch(node, lengths))))
    return allowed


def _distance(node: Node, queries: Dim, keys: Dim, before: Dim) -> SSAValue:
    """How far each key is before each query."""
    lengths, offset = node.optional(6), node.sizes(before)
    if lengths is not None and node.optional(4) is None:
        offset = node.add(e.SubOp(_of_batch(node, lengths), node.sizes(queries)))
    place = node.add(e.AddOp(node.reshape(node.iota(queries), (queries, 1)), offset))
    return node.add(e.SubOp(place, node.iota(keys)))


def _at_most(node: Node, distance: SSAValue, before: int | None, after: int | None) -> SSAValue:
    """Where a key is at most so far before, and after, a query."""
    tests: list[SSAValue] = []
    if before is not None:
        tests.append(node.add(e.LeOp(distance, node.constant(before, I64))))
    if after is not None:
        tests.append(node.add(e.GeOp(distance, node.constant(-after, I64))))
    return reduce(lambda a, b: node.add(e.AndOp(a, b)), tests)


def _of_batch(node: Node, lengths: SSAValue) -> SSAValue:
    return node.reshape(node.cast(lengths, I64), (type_of(lengths).size, 1, 1, 1))


def _bias(node: Node, mask: SSAValue | None, allowed: list[SSAValue]) -> SSAValue | None:
    """What is added to the scores: the mask, and minus infinity for what is not allowed."""
    dtype, added = node.type().dtype, node.constant(0, node.type().dtype)
    if mask is not None and type_of(mask).dtype == BOOL:
        allowed = [mask, *allowed]
    elif mask is not None:
        added = node.cast(mask, dtype)
    if not allowed:
        return None if mask is None else added
    seen = reduce(lambda a, b: node.add(e.AndOp(a, b)), allowed)
    return node.add(e.SelectOp(seen, added, node.constant(-np.inf, dtype)))

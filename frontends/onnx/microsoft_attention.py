"""Importers of ONNX Runtime's own attention."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.dims import Dim, floordiv
from ...ir.ops import elementwise as e
from ...ir.ops.attention import AttentionOp, RotaryOp
from ...ir.ops.index import GatherOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.shape import ConcatOp
from ...ir.types import I64, type_of
from .attention import attention_scale, merged_heads, split_heads
from .microsoft import microsoft
from .node import Node, Value
from .refusal import Refusal
from .shape import cut

_FAR = -10000.0
"""What ONNX Runtime adds to the scores of keys that are masked."""


@microsoft("Attention")
def packed_attention(node: Node) -> list[Value]:
    """Queries, keys and values from one product of the input."""
    if node.attribute("qkv_hidden_sizes") or node.attribute("do_rotary", 0):
        raise Refusal("different hidden sizes and rotary embeddings are not supported")
    total = node.add(MatmulOp(node.input(0), node.input(1)))
    if node.optional(2) is not None:
        total = node.add(e.AddOp(total, node.input(2)))
    size = floordiv(type_of(total).shape[2], 3)
    parts = (cut(node, total, 2, k * size, (k + 1) * size) for k in range(3))
    q, k, v = (split_heads(node, part, node.attribute("num_heads")) for part in parts)
    past, before = node.optional(4), 0
    if past is not None:
        before = type_of(past).shape[3]
        halves = (cut(node, past, 0, n, n + 1) for n in range(2))
        k_past, v_past = (node.reshape(h, type_of(h).shape[1:]) for h in halves)
        k = node.add(ConcatOp([k_past, k], axis=2))
        v = node.add(ConcatOp([v_past, v], axis=2))
    bias = _bias(node, node.optional(3), node.optional(5), type_of(k).shape[2])
    result = _attended(node, q, k, v, bias, before)
    present = None
    if node.wants(1):
        pair = [node.reshape(t, (1, *type_of(t).shape)) for t in (k, v)]
        present = node.add(ConcatOp(pair, axis=0))
    return [merged_heads(node, result), present]


@microsoft("MultiHeadAttention")
def multi_head_attention(node: Node) -> list[Value]:
    """Queries, keys and values as they are, with a bias."""
    if node.type().rank != 3 or node.optional(1) is None or node.optional(2) is None:
        raise Refusal("packed queries, keys and values are not supported")
    q, k, v = (_heads(node, index) for index in range(3))
    before: Dim = 0
    if node.optional(6) is not None:
        before = node.type(6).shape[2]
        k = node.add(ConcatOp([node.input(6), k], axis=2))
        v = node.add(ConcatOp([node.input(7), v], axis=2))
    bias = _bias(node, node.optional(4), node.optional(5), type_of(k).shape[2])
    return [merged_heads(node, _attended(node, q, k, v, bias, before)), k, v]


@microsoft("RotaryEmbedding")
def rotary_embedding(node: Node) -> SSAValue:
    """Of ``[B, S, H * D]`` or ``[B, H, S, D]``, by positions ``[B, S]`` or the first one."""
    x, half = node.type(), node.type(2).shape[1]
    flat, heads = x.rank == 3, node.attribute("num_heads", 0)
    batch, length = x.shape[0], x.shape[1 if flat else 2]
    if node.attribute("rotary_embedding_dim", 0):
        raise Refusal("partial rotary embeddings are not supported")
    size = half * 2 if not heads else floordiv(x.shape[-1], heads)
    value = node.input()
    if flat:
        value = node.reshape(value, (batch, length, floordiv(x.shape[2], size), size))
    places = node.input(1)
    if type_of(places).size == 1:
        places = node.add(e.AddOp(node.reshape(places, ()), node.iota(length)))
        places = node.broadcast(places, (batch, length))
    shape = (batch, length, 1, half) if flat else (batch, 1, length, half)
    angles = [node.reshape(node.add(GatherOp(node.input(n), places)), shape) for n in (2, 3)]
    interleaved = bool(node.attribute("interleaved", 0))
    return node.reshape(node.add(RotaryOp(value, *angles, interleaved=interleaved)), x.shape)


def _heads(node: Node, index: int) -> SSAValue:
    """``[B, H, S, D]``, the share of the bias added."""
    x, bias = node.input(index), node.optional(3)
    if type_of(x).rank == 4:
        return x
    if bias is not None:
        sizes = [node.type(k).shape[2] for k in (0, 1, 2)]
        start = sum(sizes[:index], 0)
        x = node.add(e.AddOp(x, cut(node, bias, 0, start, start + sizes[index])))
    return split_heads(node, x, node.attribute("num_heads"))


def _attended(
    node: Node, q: SSAValue, k: SSAValue, v: SSAValue, bias: SSAValue | None, before: Dim
) -> SSAValue:
    causal = bool(node.attribute("unidirectional", 0))
    aligned = before == type_of(k).shape[2] - type_of(q).shape[2]
    if causal and not aligned:
        raise Refusal("causal attention to keys of other positions is not supported")
    masks = [] if bias is None else [bias]
    scale = attention_scale(node, type_of(q).shape[3])
    return node.add(AttentionOp(q, k, v, *masks, scale=scale, causal=causal))


def _bias(node: Node, mask: SSAValue | None, added: SSAValue | None, keys: Dim) -> SSAValue | None:
    """What is added to the scores: for masked keys a number far below, and ``added``."""
    if mask is None:
        return added
    type, dtype = type_of(mask), node.type().dtype
    if type.rank == 1:
        lengths = node.reshape(node.cast(mask, I64), (type.shape[0], 1, 1, 1))
        seen = node.add(e.LtOp(node.iota(keys), lengths))
    else:
        inner = type.shape[1:] if type.rank == 3 else (1, *type.shape[1:])
        shape = (type.shape[0], 1, *inner) if type.rank < 4 else type.shape
        seen = node.add(e.NeOp(node.reshape(mask, shape), node.constant(0, type.dtype)))
    far = node.constant(node.attribute("mask_filter_value", _FAR), dtype)
    bias = node.add(e.SelectOp(seen, node.constant(0, dtype), far))
    return bias if added is None else node.add(e.AddOp(bias, added))

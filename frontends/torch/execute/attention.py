"""Attention and rotary embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from ....ir.ops.attention import AttentionOp, RotaryOp
from .registry import Call, runs, torch_dtype


@runs(AttentionOp)
def attention(call: Call[AttentionOp]) -> Any:
    """Torch counts causal positions from the start: it may when there are as many queries as keys.

    A single query sees all keys.
    """
    op, (q, k, v, *masks) = call.op, call.operands
    (queries, keys), grouped = _lengths(call), call.type(0).shape[1] != call.type(1).shape[1]
    mask = _mask(call, masks[0]) if masks else None
    causal = op.causal and queries != 1
    if causal and (mask is not None or queries != keys):
        mask, causal = _causal_mask(call, mask), False
    how = {"attn_mask": mask, "is_causal": causal, "enable_gqa": grouped}
    return F.scaled_dot_product_attention(q, k, v, scale=op.scale, **how)


@runs(RotaryOp)
def rotary(call: Call[RotaryOp]) -> Any:
    """Both halves, or both elements of each pair, and their products."""
    x, cos, sin = call.operands
    if call.op.interleaved:
        pair = x.unflatten(-1, (-1, 2))
        a, b = pair[..., 0], pair[..., 1]
        return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    half = call.size(call.type().shape[-1] // 2)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _lengths(call: Call[AttentionOp]) -> tuple[Any, Any]:
    return call.type(0).shape[2], call.type(1).shape[2]


def _mask(call: Call[AttentionOp], mask: Any) -> Any:
    """With four dims: torch's fast kernels know two or four."""
    missing = 4 - call.type(3).rank
    return mask[(None,) * missing] if missing else mask


def _causal_mask(call: Call[AttentionOp], mask: Any) -> Any:
    """What is added to the scores so that no query sees a later key, both counted from the end."""
    queries, keys = call.sizes(_lengths(call))
    dtype = torch_dtype(call.type().dtype)
    lost = call.recorder.call(torch.full, [queries, keys], -torch.inf, dtype=dtype)
    hidden = torch.triu(lost, keys - queries + 1)
    return hidden if mask is None else mask + hidden

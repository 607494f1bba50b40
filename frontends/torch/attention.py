"""Importers of attention."""

from __future__ import annotations

import math

import numpy as np
import torch
from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, product
from ...ir.ops import elementwise as e
from ...ir.ops.attention import AttentionOp
from ...ir.types import BOOL, type_of
from .registry import Node, Refusal, importer

aten = torch.ops.aten


@importer(aten.scaled_dot_product_attention)
def attention(node: Node) -> SSAValue:
    """Over the last two dims of query, key and value; all before are batch, the last of it heads.

    A bool mask says which keys a query sees. ``is_causal`` counts queries and keys from the begin.
    """
    if node.arg("dropout_p", 0.0):
        raise Refusal("attention with dropout", "export the model in eval mode: model.eval()")
    query, key, value = (_of_rank_4(node, node.input(n)) for n in ("query", "key", "value"))
    batch, _, queries, features = type_of(query).shape
    key, value = _repeated(node, key, batch), _repeated(node, value, batch)
    keys, causal = type_of(key).shape[2], bool(node.arg("is_causal", False))
    mask = node.optional("attn_mask")
    if causal and queries != keys:
        mask, causal = _seen_from_the_begin(node, queries, keys), False
    op = AttentionOp(
        *(query, key, value, _added(node, mask, query)),
        scale=float(node.arg("scale", _default_scale(features))),
        causal=causal,
    )
    return node.reshape(node.add(op), node.result.shape)


@importer(
    aten._scaled_dot_product_flash_attention_for_cpu, aten._scaled_dot_product_efficient_attention
)
def attention_of_a_device(node: Node) -> list[SSAValue | None]:
    """What torch picks for a device, without the sums that only training needs."""
    return [attention(node), None, None, None]


def _default_scale(features: Dim) -> float:
    if not isinstance(features, int):
        raise Refusal("the number of features is symbolic", "pass scale= to the attention")
    return 1 / math.sqrt(features)


def _of_rank_4(node: Node, x: SSAValue) -> SSAValue:
    shape = type_of(x).shape
    if len(shape) == 3:
        return node.reshape(x, (shape[0], 1, *shape[1:]))
    return node.reshape(x, (product(shape[:-3]), *shape[-3:]))


def _repeated(node: Node, x: SSAValue, batch: Dim) -> SSAValue:
    """Keys or values of one batch entry for all of them."""
    return node.broadcast(x, (batch, *type_of(x).shape[1:]))


def _added(node: Node, mask: SSAValue | None, query: SSAValue) -> SSAValue | None:
    """The mask as what is added to the scores, in the dtype of the query and of rank 4."""
    if mask is None:
        return None
    dtype = type_of(query).dtype
    if type_of(mask).dtype == BOOL:
        zero, lost = node.constant(0, dtype), node.constant(-np.inf, dtype)
        mask = node.add(e.SelectOp(mask, zero, lost))
    mask = node.cast(mask, dtype)
    return node.reshape(mask, _mask_shape(type_of(mask).shape, node.type("query").rank))


def _mask_shape(shape: Shape, rank: int) -> Shape:
    """The mask's shape among 4 dims: a batch dim and no heads where the query has rank 3."""
    if len(shape) == 3 and rank == 3:
        return (shape[0], 1, *shape[1:])
    padded = (1,) * (rank - len(shape)) + shape
    return padded if len(padded) < 5 else (product(padded[:-3]), *padded[-3:])


def _seen_from_the_begin(node: Node, queries: Dim, keys: Dim) -> SSAValue:
    """``[S, T]``: whether key t is not after query s."""
    rows = node.reshape(node.counted(queries), (queries, 1))
    return node.add(e.GeOp(rows, node.counted(keys)))

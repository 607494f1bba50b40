"""Attention and rotary embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue
from xdsl.irdl import operand_def, opt_operand_def, result_def

from .. import scalar as s
from ..dims import Dim
from ..op import Add, GraphOp, graph_op, param
from ..structure import Composite, Indices, Map
from ..types import I64, TensorType, is_float, type_of
from .compose import Composer
from .elementwise import AddOp, EqOp, GeOp, MulOp, SelectOp, broadcast_dims, broadcast_load
from .matmul import MatmulOp
from .norm import SoftmaxOp
from .reduce import ReduceMaxOp, accumulator
from .shape import IotaOp, ReverseOp, TransposeOp, dims_param


@graph_op
class AttentionOp(GraphOp):
    """``softmax(q @ transpose(k) * scale + mask) @ v`` over heads (Vaswani et al., 2017).

    q ``[B, H, S, D]``, k ``[B, G, T, D]``, v ``[B, G, T, E]`` give ``[B, H, S, E]``; every key head
    serves H / G query heads. ``mask`` is added to the scores and broadcasts to ``[B, H, S, T]``.
    With ``causal``, query s attends to keys t <= s + T - S. A query all of whose scores are -inf
    gets 0. Computed in f32 or wider.
    """

    name = "mlc.attention"
    q = operand_def(TensorType)
    k = operand_def(TensorType)
    v = operand_def(TensorType)
    mask = opt_operand_def(TensorType)
    scale = param(1.0)
    causal = param(False)
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """``[B, H, S, E]``."""
        q, k, v = (self.operand_type(n) for n in range(3))
        if (q.rank, k.rank, v.rank) != (4, 4, 4):
            raise self.fail("q, k and v need 4 dims: batch, heads, positions, features")
        if len({t.dtype for t in map(type_of, self.operands)}) > 1 or not is_float(q.dtype):
            raise self.fail("operands must have the same float dtype")
        if (q.shape[0], q.shape[3]) != (k.shape[0], k.shape[3]) or k.shape[:3] != v.shape[:3]:
            raise self.fail("batch and features of q and k, heads and positions of k and v differ")
        if q.shape[1] % k.shape[1] != 0:
            raise self.fail(f"{q.shape[1]} query heads are not a multiple of {k.shape[1]}")
        scores = (*q.shape[:3], k.shape[2])
        if len(self.operands) > 3 and self._with_mask(scores) != scores:
            raise self.fail(f"the mask does not broadcast to {list(map(str, scores))}")
        return q.with_shape((*q.shape[:3], v.shape[3]))

    def reference(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """The definition, with the key heads repeated."""
        wide, heads = accumulator(q.dtype), q.shape[1] // k.shape[1]
        q_, k_, v_ = q.astype(wide), *(np.repeat(a.astype(wide), heads, 1) for a in (k, v))
        scores = q_ @ np.swapaxes(k_, 2, 3) * wide.type(self.scale)
        if mask is not None:
            scores = scores + mask.astype(wide)
        if self.causal:
            s, t = np.ogrid[: q.shape[2], : k.shape[2]]
            scores = np.where(t <= s + k.shape[2] - q.shape[2], scores, -np.inf)
        top = scores.max(-1, keepdims=True, initial=-np.inf)
        powers = np.exp(scores - np.where(top == -np.inf, 0, top))
        total = powers.sum(-1, keepdims=True)
        return (powers / np.where(total == 0, 1, total) @ v_).astype(q.dtype)

    def structure(self) -> Composite:
        """Composite: see ``decompose``."""
        return Composite()

    def decompose(self, add: Add) -> Sequence[SSAValue]:
        """Two matrix products and a softmax, the query heads grouped by key head."""
        make, result = Composer(add), self.infer()
        batch, heads, queries, features = self.operand_type(0).shape
        groups, keys = self.operand_type(1).shape[1:3]
        wide = accumulator(result.dtype)
        q, k, v, *mask = (make.cast(o, wide) for o in self.operands)
        q = make.reshape(q, (batch, groups, heads // groups * queries, features))
        scores = add(MatmulOp(q, add(TransposeOp(k, perm=(0, 1, 3, 2)))))
        scores = make.reshape(scores, (batch, heads, queries, keys))
        scores = add(MulOp(scores, make.constant(self.scale, wide)))
        for bias in mask:
            scores = add(AddOp(scores, bias))
        if self.causal:
            lost = make.constant(-np.inf, wide)
            scores = add(SelectOp(_causal(make, queries, keys), scores, lost))
        weights = add(SoftmaxOp(scores, axis=3))
        if mask or self.causal:
            top = add(ReduceMaxOp(scores, axes=(3,), keepdims=True))
            dead = add(EqOp(top, make.constant(-np.inf, wide)))
            weights = add(SelectOp(dead, make.constant(0, wide), weights))
        weights = make.reshape(weights, (batch, groups, heads // groups * queries, keys))
        mixed = make.reshape(add(MatmulOp(weights, v)), result.shape)
        return [make.cast(mixed, result.dtype)]

    def _with_mask(self, scores: tuple[Dim, ...]) -> tuple[Dim, ...]:
        return broadcast_dims(self, scores, self.operand_type(3).shape)


@graph_op
class RotaryOp(GraphOp):
    """Rotary position embedding (Su et al., 2021): turns pairs of features by an angle each.

    x ``[…, D]`` holds D / 2 pairs (a, b); cos and sin broadcast to ``[…, D / 2]``. A pair becomes
    ``(a * cos - b * sin, b * cos + a * sin)``. The pairs are (j, j + D / 2), or (2j, 2j + 1) with
    ``interleaved``.
    """

    name = "mlc.rotary"
    x = operand_def(TensorType)
    cos = operand_def(TensorType)
    sin = operand_def(TensorType)
    interleaved = param(False)
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The type of x."""
        x, cos, sin = (self.operand_type(n) for n in range(3))
        if x.rank < 1 or x.shape[-1] % 2 != 0:
            raise self.fail("the last dim of x must be even")
        if not is_float(x.dtype) or {cos.dtype, sin.dtype} != {x.dtype}:
            raise self.fail("operands must have the same float dtype")
        half = (*x.shape[:-1], x.shape[-1] // 2)
        if broadcast_dims(self, half, cos.shape, sin.shape) != half:
            raise self.fail(f"cos and sin do not broadcast to {list(map(str, half))}")
        return x

    def reference(self, x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
        """The definition."""
        wide, half = accumulator(x.dtype), x.shape[-1] // 2
        first = np.s_[..., ::2] if self.interleaved else np.s_[..., :half]
        second = np.s_[..., 1::2] if self.interleaved else np.s_[..., half:]
        a, b = x[first].astype(wide), x[second].astype(wide)
        result = np.empty_like(x)
        result[first] = (a * cos - b * sin).astype(x.dtype)
        result[second] = (b * cos + a * sin).astype(x.dtype)
        return result

    def structure(self) -> Map:
        """A Map that reads both elements of the pair."""
        return Map(self._body)

    def _body(self, i: Indices) -> s.Scalar:
        x = self.operand_type(0)
        wide, half = accumulator(x.dtype), s.size(x.shape[-1] // 2)
        if self.interleaved:
            pair, is_first = i[-1] // 2, s.compare("eq", i[-1] % 2, 0)
            places = (pair * 2, pair * 2 + 1)
        else:
            pair, is_first = i[-1] % half, i[-1] < half
            places = (pair, pair + half)
        a, b = (s.cast(s.load(0, [*i[:-1], p], x.dtype), wide) for p in places)
        cos, sin = (s.cast(broadcast_load(self, n, (*i[:-1], pair)), wide) for n in (1, 2))
        return s.cast(s.select(is_first, a * cos - b * sin, b * cos + a * sin), x.dtype)


def _causal(make: Composer, queries: Dim, keys: Dim) -> SSAValue:
    """``[S, T]``: whether query s may see key t; both counted from the end, t is not after s."""

    def from_end(size: Dim) -> SSAValue:
        iota = make.add(IotaOp(shape=dims_param((size,)), dtype=I64))
        return make.add(ReverseOp(iota, axes=(0,)))

    rows = make.reshape(from_end(queries), (queries, 1))
    return make.add(GeOp(from_end(keys), rows))

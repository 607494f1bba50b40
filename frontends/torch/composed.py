"""Operators written in simpler ones of torch, which torch traces when it decomposes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
_SUM, _MEAN, _MAX = range(3)


def addbmm(added: Tensor, x: Tensor, y: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * added + alpha * sum of x[b] @ y[b]``."""
    return beta * added + alpha * (x @ y).sum(0)


def bilinear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight[o] @ y`` for each output o."""
    result = torch.einsum("...i,oij,...j->...o", x, weight, y)
    return result if bias is None else result + bias


def cdist(x: Tensor, y: Tensor, p: float, compute_mode: int | None = None) -> Tensor:
    """The norms of all differences of rows."""
    return torch.linalg.vector_norm(x[..., :, None, :] - y[..., None, :, :], p, -1)


def dist(x: Tensor, y: Tensor, p: float = 2) -> Tensor:
    """The norm of the difference."""
    return torch.linalg.vector_norm(x - y, p)


def fmax(x: Tensor, y: Tensor) -> Tensor:
    """The larger; the other where one is NaN."""
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.maximum(x, y)))


def fmin(x: Tensor, y: Tensor) -> Tensor:
    """The smaller; the other where one is NaN."""
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.minimum(x, y)))


def signbit(x: Tensor) -> Tensor:
    """Whether the sign is negative, that of -0 included."""
    negative = x < 0
    return negative | ((x == 0) & (1 / x < 0)) if x.is_floating_point() else negative


def copysign(x: Tensor, sign: Tensor) -> Tensor:
    """``|x|`` with the sign of another number."""
    return torch.where(signbit(sign), -x.abs(), x.abs())


def copysign_of_number(x: Tensor, sign: float) -> Tensor:
    """The same for all elements."""
    return x.abs() * math.copysign(1.0, sign)


def ldexp(x: Tensor, exponent: Tensor) -> Tensor:
    """``x * 2 ** exponent``."""
    return x * 2.0**exponent


def masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The next element of ``source`` wherever the mask holds."""
    mask = mask.expand(torch.broadcast_shapes(x.shape, mask.shape))
    place = (mask.flatten().cumsum(0) - 1).clamp(0, source.numel() - 1)
    return torch.where(mask, source.flatten()[place].view(mask.shape), x)


def put(x: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Elements of the flattened tensor replaced."""
    values = source.flatten().to(x.dtype)
    flat = x.flatten().index_put((index.flatten(),), values, accumulate)
    return flat.view(x.shape)


def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = _SUM,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows of a table combined bag by bag; a bag goes from one offset to the next."""
    count = offsets.shape[0] - int(include_last_offset)
    places = torch.arange(indices.shape[0], device=indices.device)
    bags = torch.searchsorted(offsets[:count], places, right=True) - 1
    rows, kept = weight[indices], (indices != padding_idx).to(weight.dtype)[:, None]
    if mode == _MAX:
        combined = _largest(rows, bags, kept, count)
    else:
        scale = kept if per_sample_weights is None else kept * per_sample_weights[:, None]
        combined = rows.new_zeros(count, rows.shape[1]).index_add(0, bags, rows * scale)
    if mode == _MEAN:
        size = rows.new_zeros(count, 1).index_add(0, bags, kept)
        combined = combined / size.clamp(min=1)
    none = indices.new_empty(0)
    return combined, none, none, none


def _largest(rows: Tensor, bags: Tensor, kept: Tensor, count: int) -> Tensor:
    """The largest element of each bag; 0 of an empty one."""
    lowest = rows.new_full((count, rows.shape[1]), float("-inf"))
    rows = torch.where(kept > 0, rows, float("-inf"))
    largest = lowest.scatter_reduce(0, bags[:, None].expand_as(rows), rows, "amax")
    return torch.where(largest.isinf(), 0.0, largest)


COMPOSED: dict[Any, Callable[..., Any]] = {
    aten.addbmm.default: addbmm,
    aten.bilinear.default: bilinear,
    aten._cdist_forward.default: cdist,
    aten.dist.default: dist,
    aten.fmax.default: fmax,
    aten.fmin.default: fmin,
    aten.signbit.default: signbit,
    aten.copysign.Tensor: copysign,
    aten.copysign.Scalar: copysign_of_number,
    aten.ldexp.Tensor: ldexp,
    aten.masked_scatter.default: masked_scatter,
    aten.put.default: put,
    aten._embedding_bag.default: embedding_bag,
    aten._embedding_bag_forward_only.default: embedding_bag,
}

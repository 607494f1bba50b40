"""Sorts, arg-maxima and cumulative ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from ....ir.dims import Dim
from ....ir.ops.shape import param_dims
from ....ir.ops.sort import ArgMaxOp, ArgMinOp, ArgReduceOp, CumProdOp, CumSumOp, TopKOp
from .registry import Call, runs, torch_dtype

_ARG: dict[type[ArgReduceOp], Callable[..., Any]] = {
    ArgMaxOp: torch.argmax,
    ArgMinOp: torch.argmin,
}
_NEUTRAL = {CumSumOp: 0, CumProdOp: 1}
_CUMULATIVE: dict[type, Callable[..., Any]] = {
    CumSumOp: torch.cumsum,
    CumProdOp: torch.cumprod,
}


@runs(TopKOp)
def top_k(call: Call[TopKOp]) -> Any:
    """A stable sort where equal elements are likely: of those, ``topk`` takes any."""
    op, (k,) = call.op, param_dims((call.op.k,))
    if call.is_float and call.type().dtype.itemsize >= 4 and k != call.type().shape[op.axis]:
        made = torch.topk(call.x, call.size(k), op.axis, op.largest)
        return [made[0], made[1]]
    made = torch.sort(call.x, stable=True, dim=op.axis, descending=op.largest)
    return [torch.narrow(made[n], op.axis, 0, call.size(k)) for n in range(2)]


@runs(*_ARG)
def arg_extremum(call: Call[ArgReduceOp]) -> Any:
    """The first; the last is the first from the end."""
    op, find = call.op, _ARG[type(call.op)]
    if not op.select_last:
        return find(call.x, op.axis, op.keepdims)
    last: Dim = call.type().shape[op.axis] - 1
    return call.size(last) - find(torch.flip(call.x, (op.axis,)), op.axis, op.keepdims)


@runs(*_CUMULATIVE)
def cumulative(call: Call[Any]) -> Any:
    """Turned round and shifted as asked."""
    if call.is_empty:
        return None
    op, x, kind = call.op, call.x, type(call.op)
    x = torch.flip(x, (op.axis,)) if op.reverse else x
    if op.exclusive:
        behind = [0, 0] * (call.type().rank - 1 - op.axis)
        x = F.pad(x, [*behind, 1, -1], value=_NEUTRAL[kind])
    total = _CUMULATIVE[kind](x, op.axis, dtype=torch_dtype(call.result.dtype))
    return torch.flip(total, (op.axis,)) if op.reverse else total

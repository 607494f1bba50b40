"""Importers of elementwise operators: operands get the dtype that torch promotes them to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from xdsl.ir import SSAValue

from ...ir.op import GraphOp
from ...ir.ops import elementwise as e
from ...ir.types import BOOL, is_float, type_of
from .registry import Node, Refusal, importer, with_copies
from .tensors import numpy_dtype

aten = torch.ops.aten

_UNARY: dict[Any, type[GraphOp]] = {
    getattr(aten, op.name[4:]): op
    for op in (
        *(e.NegOp, e.AbsOp, e.SignOp, e.ExpOp, e.LogOp, e.SqrtOp, e.RsqrtOp, e.SinOp, e.CosOp),
        *(e.TanOp, e.AsinOp, e.AcosOp, e.AtanOp, e.SinhOp, e.CoshOp, e.TanhOp, e.AsinhOp),
        *(e.AcoshOp, e.AtanhOp, e.ErfOp, e.ReluOp, e.SigmoidOp, e.SiluOp),
    )
}
_ROUNDING: dict[Any, type[GraphOp]] = {aten.floor: e.FloorOp, aten.ceil: e.CeilOp}
_ARITHMETIC: dict[Any, type[GraphOp]] = {
    aten.maximum: e.MaxOp,
    aten.minimum: e.MinOp,
    aten.fmod: e.RemOp,
    aten.remainder: e.ModOp,
    aten.bitwise_and: e.AndOp,
    aten.bitwise_or: e.OrOp,
    aten.bitwise_xor: e.XorOp,
    **dict.fromkeys((aten.bitwise_left_shift, aten.__lshift__), e.ShlOp),
    **dict.fromkeys((aten.bitwise_right_shift, aten.__rshift__), e.ShrOp),
}
_COMPARE: dict[Any, type[GraphOp]] = {
    getattr(aten, op.name[4:]): op for op in (e.EqOp, e.NeOp, e.LtOp, e.LeOp, e.GtOp, e.GeOp)
}
_LOGICAL: dict[Any, type[GraphOp]] = {
    aten.logical_and: e.AndOp,
    aten.logical_or: e.OrOp,
    aten.logical_xor: e.XorOp,
}
_SAME = (
    *(
        aten.clone,
        *with_copies(aten.alias, aten.detach),
        aten.contiguous,
        aten.lift_fresh_copy,
        aten.lift_fresh,
    ),
    *(aten.to, aten._to_copy, aten.type_as, aten.positive),
    *(aten.dropout, aten.native_dropout, aten.feature_dropout, aten.alpha_dropout),
)


@importer(*_UNARY)
def unary(node: Node) -> SSAValue:
    """One operand, computed in the dtype of the result (integers become floats)."""
    return node.add(_UNARY[node.packet](node.operand(node.input(), node.result.dtype)))


@importer(*_ROUNDING)
def rounding(node: Node) -> SSAValue:
    """Integers stay what they are."""
    x = node.input()
    return node.add(_ROUNDING[node.packet](x)) if is_float(node.type().dtype) else x


@importer(aten.round)
def round_(node: Node) -> SSAValue:
    """Halves go to the even integer; ``decimals`` scales before and after."""
    x, dtype = node.input(), node.type().dtype
    if not is_float(dtype):
        return x
    scale = node.constant(10.0 ** node.arg("decimals", 0), dtype)
    if not node.arg("decimals", 0):
        return node.add(e.RoundOp(x))
    return node.add(e.DivOp(node.add(e.RoundOp(node.add(e.MulOp(x, scale)))), scale))


@importer(aten.trunc)
def trunc(node: Node) -> SSAValue:
    """Towards zero."""
    return _truncated(node, node.input())


@importer(*_ARITHMETIC)
def arithmetic(node: Node) -> SSAValue:
    """Two operands in the dtype of the result."""
    return node.add(_ARITHMETIC[node.packet](*node.promoted()))


@importer(aten.mul)
def mul(node: Node) -> SSAValue:
    """A product of bools is an and."""
    x, y = node.promoted()
    return node.add((e.AndOp if type_of(x).dtype == BOOL else e.MulOp)(x, y))


@importer(aten.add)
def add(node: Node) -> SSAValue:
    """``self + alpha * other``; a sum of bools is an or."""
    x, y = node.promoted()
    kind = e.OrOp if type_of(x).dtype == BOOL else e.AddOp
    return node.add(kind(x, _times_alpha(node, y)))


@importer(aten.sub)
def sub(node: Node) -> SSAValue:
    """``self - alpha * other``."""
    x, y = node.promoted()
    return node.add(e.SubOp(x, _times_alpha(node, y)))


@importer(aten.rsub)
def rsub(node: Node) -> SSAValue:
    """``other - alpha * self``."""
    x, y = node.promoted()
    return node.add(e.SubOp(y, _times_alpha(node, x)))


@importer(aten.div)
def div(node: Node) -> SSAValue:
    """Exact, floored or truncated."""
    x, y = node.promoted()
    match node.arg("rounding_mode"):
        case "floor":
            return _floored_quotient(node, x, y)
        case "trunc":
            return _truncated(node, node.add(e.DivOp(x, y)))
        case _:
            return node.add(e.DivOp(x, y))


@importer(aten.floor_divide)
def floor_divide(node: Node) -> SSAValue:
    """The quotient, floored."""
    return _floored_quotient(node, *node.promoted())


@importer(*_COMPARE)
def compare(node: Node) -> SSAValue:
    """Two operands in the dtype that torch promotes both to."""
    x, y = _common(node)
    return node.add(_COMPARE[node.packet](x, y))


@importer(*_LOGICAL)
def logical(node: Node) -> SSAValue:
    """On whether operands are not zero."""
    x, y = (_truth(node, node.input(name)) for name in ("self", "other"))
    return node.add(_LOGICAL[node.packet](x, y))


@importer(aten.logical_not)
def logical_not(node: Node) -> SSAValue:
    """Whether the operand is zero."""
    return node.add(e.NotOp(_truth(node, node.input())))


@importer(aten.bitwise_not)
def bitwise_not(node: Node) -> SSAValue:
    """Every bit flipped; on bools: not."""
    return node.add(e.NotOp(node.input()))


@importer(aten.isnan, aten.isinf)
def classify(node: Node) -> SSAValue:
    """Integers are neither."""
    x = node.input()
    if not is_float(type_of(x).dtype):
        return node.broadcast(node.constant(False, BOOL), type_of(x).shape)
    return node.add((e.IsnanOp if node.packet is aten.isnan else e.IsinfOp)(x))


@importer(aten.where)
def where(node: Node) -> SSAValue:
    """A choice by element."""
    dtype = node.result.dtype
    x, y = (node.operand(node.arg(name, 0), dtype) for name in ("self", "other"))
    return node.add(e.SelectOp(_truth(node, node.input("condition")), x, y))


@importer(aten.masked_fill)
def masked_fill(node: Node) -> SSAValue:
    """A value where the mask holds."""
    value = node.operand(node.arg("value", 0), node.result.dtype)
    x = node.cast(node.input(), node.result.dtype)
    return node.add(e.SelectOp(node.input("mask"), value, x))


@importer(aten.clamp, aten.clamp_min, aten.clamp_max, aten.hardtanh)
def clamp(node: Node) -> SSAValue:
    """Between two bounds, each a number, a tensor or not there."""
    x, dtype = node.cast(node.input(), node.result.dtype), node.result.dtype
    lower, upper = _bound(node, "min"), _bound(node, "max")
    if lower is not None:
        x = node.add(e.MaxOp(x, node.operand(lower, dtype)))
    return x if upper is None else node.add(e.MinOp(x, node.operand(upper, dtype)))


@importer(*_SAME)
def same(node: Node) -> SSAValue | tuple[SSAValue | None, ...]:
    """The operand, perhaps in another dtype; dropout does nothing in eval mode."""
    if node.arg("train", False):
        raise Refusal("dropout in training mode", "export the model in eval mode: model.eval()")
    result = node.cast(node.input(), node.result.dtype)
    return (result, None) if node.packet is aten.native_dropout else result


@importer(aten.copy)
def copy(node: Node) -> SSAValue:
    """The source in the dtype and shape of what it is written over."""
    source = node.operand(node.arg("src"), node.result.dtype)
    return node.broadcast(source, node.result.shape)


def _common(node: Node) -> tuple[SSAValue, SSAValue]:
    """Both operands in the dtype of torch's promotion, where the result does not tell it."""
    left, right = (node.fakes[name] for name in ("self", "other"))
    dtype = numpy_dtype(torch.result_type(left, 1 if isinstance(right, torch.SymInt) else right))
    return node.operand(node.arg("self"), dtype), node.operand(node.arg("other"), dtype)


def _times_alpha(node: Node, value: SSAValue) -> SSAValue:
    alpha = node.arg("alpha", 1)
    dtype = type_of(value).dtype
    return value if alpha == 1 else node.add(e.MulOp(value, node.operand(alpha, dtype)))


def _truth(node: Node, value: SSAValue) -> SSAValue:
    dtype = type_of(value).dtype
    return value if dtype == BOOL else node.add(e.NeOp(value, node.constant(0, dtype)))


def _bound(node: Node, name: str) -> Any:
    return node.arg(name, node.arg(f"{name}_val"))


def _floored_quotient(node: Node, x: SSAValue, y: SSAValue) -> SSAValue:
    dtype = type_of(x).dtype
    if is_float(dtype):
        return node.add(e.FloorOp(node.add(e.DivOp(x, y))))
    return node.add(e.DivOp(node.add(e.SubOp(x, node.add(e.ModOp(x, y)))), y))


def _truncated(node: Node, x: SSAValue) -> SSAValue:
    dtype = type_of(x).dtype
    if not is_float(dtype):
        return x
    negative = node.add(e.LtOp(x, node.constant(np.zeros(()), dtype)))
    return node.add(e.SelectOp(negative, node.add(e.CeilOp(x)), node.add(e.FloorOp(x))))

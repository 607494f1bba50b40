"""Elementwise operators, activations and functions against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

torch.manual_seed(0)
X, Y = torch.rand(2, 4) * 2 - 1, torch.rand(4) + 0.1
N, M = torch.tensor([[-7, 3, 0, 1], [5, -2, 9, 8]]), torch.tensor([2, -3, 4, -1])
B = torch.tensor([True, False, True, True])
H = X.half()

CASES: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "functions": (
        lambda x: [
            *(f(x) for f in (torch.exp, torch.sin, torch.cos, torch.tan, torch.tanh, torch.erf)),
            *(f(x) for f in (torch.asin, torch.acos, torch.atan, torch.sinh, torch.cosh)),
            *(f(x) for f in (torch.asinh, torch.atanh, torch.abs, torch.neg, torch.sign)),
            *(f(x) for f in (torch.expm1, torch.log1p, torch.exp2, torch.erfc, torch.square)),
            *(f(x) for f in (torch.floor, torch.ceil, torch.round, torch.trunc, torch.frac)),
        ],
        [X],
    ),
    "functions of positive numbers": (
        lambda y: [
            *(f(y) for f in (torch.log, torch.sqrt, torch.rsqrt, torch.log2, torch.log10)),
            *(y**p for p in (0.5, -0.5, 2, 3, 4, -1, 1.7)),
            2.0**y,
            torch.reciprocal(y),
            torch.acosh(y + 1),
        ],
        [Y],
    ),
    "functions of integers become floats": (lambda i: [i.sqrt(), i.exp(), i / 2], [M.abs()]),
    "activations": (
        lambda x: [
            *(f(x) for f in (F.relu, F.silu, F.sigmoid, F.gelu, F.elu, F.celu, F.selu, F.mish)),
            *(f(x * 5) for f in (F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.softplus)),
            *(f(x) for f in (F.leaky_relu, F.softsign, F.logsigmoid, F.tanhshrink, F.hardshrink)),
            F.gelu(x, approximate="tanh"),
            F.glu(x),
            F.prelu(x, torch.tensor([0.2])),
            F.prelu(x, torch.tensor([0.2, 0.3, 0.4, 0.5])),
            F.softplus(x * 30, beta=2),
            F.threshold(x, 0.1, 20),
        ],
        [X],
    ),
    "arithmetic": (
        lambda x, y: [
            *(x + y, x - y, x * y, x / y, 1 - x, 2 / y, x % y, torch.fmod(x, y), x // y),
            torch.add(x, y, alpha=3),
            torch.sub(x, y, alpha=0.5),
            torch.div(x, y, rounding_mode="trunc"),
            torch.maximum(x, y),
            torch.minimum(x, y),
            torch.atan2(x, y),
            torch.addcmul(x, y, y, value=2),
            torch.addcdiv(x, y, y, value=2),
            torch.lerp(x, y, 0.3),
            torch.hypot(x, y),
        ],
        [X, Y],
    ),
    "arithmetic of integers": (
        lambda i, j: [
            *(i + j, i - j, i * j, i / j, i // j, i % j, torch.fmod(i, j), -i, i.abs(), i**2),
            torch.div(i, j, rounding_mode="trunc"),
            torch.div(i, j, rounding_mode="floor"),
            *(i & j, i | j, i ^ j, ~i, i << 2, i >> 1),
            *(i.floor(), i.round(), i.trunc()),
        ],
        [N, M],
    ),
    "promotion": (
        lambda x, i, b, h: [x + i, i + 1.5, b + b, b * b, h + x, h + 1, i + b, b + 1, i * h],
        [X, N, B, H],
    ),
    "comparison": (
        lambda x, y, i: [x == y, x != y, x < y, x <= y, x > 0, x >= i, i == 3, i > 2.5],
        [X, Y, N],
    ),
    "logic": (
        lambda x, b, i: [
            *(torch.logical_and(x, b), torch.logical_or(i, b), torch.logical_xor(x, i)),
            *(torch.logical_not(i), ~b, b & b, b | b, b ^ b),
            *(torch.isnan(x / 0 * 0), torch.isinf(x / 0), torch.isfinite(x / 0), torch.isnan(i)),
        ],
        [X, B, N],
    ),
    "choice": (
        lambda x, y, b: [
            torch.where(b, x, y),
            torch.where(x > 0, x, 2),
            x.masked_fill(b, -3.5),
            x.masked_fill(b, float("-inf")),
            x.clamp(-0.5, 0.5),
            x.clamp(max=0.1),
            x.clamp_min(0.2),
            torch.clamp(x, y, y + 0.1),
            x.nan_to_num(),
        ],
        [X, Y, B],
    ),
    "casts": (
        lambda x, i: [
            *(x.half(), x.bfloat16(), x.double(), (x * 9).to(torch.int8), i.bool(), i.float()),
            *(x.to(i), x.type_as(i), x.clone(), x.detach(), x.contiguous()),
        ],
        [X, N],
    ),
    "in place": (lambda x, y: [x.clone().add_(y).mul_(2).relu_(), x.clone().copy_(y)], [X, Y]),
    "dropout": (lambda x: [F.dropout(x, training=False), torch.nn.Dropout(0.5).eval()(x)], [X]),
}


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    function, args = CASES[name]
    check(function, *args)

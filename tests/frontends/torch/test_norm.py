"""Softmax, normalisations and attention against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mlc.ir.ops.attention import AttentionOp
from torch import nn
from torch.export import Dim
from torch.nn import functional as F

torch.manual_seed(5)


def r(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def trained(norm: nn.Module) -> nn.Module:
    for tensor in (*norm.parameters(), *norm.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    return norm


CASES: dict[str, tuple[Any, list[torch.Tensor]]] = {
    "softmax": (
        lambda x: [
            *(x.softmax(-1), x.softmax(0), F.log_softmax(x, 1), F.softmin(x, 2)),
            *(x.half().softmax(-1, dtype=torch.float32), x[0, 0, 0].softmax(0)),
        ],
        [r(2, 3, 4)],
    ),
    "layer norm": (trained(nn.LayerNorm(4)), [r(2, 3, 4)]),
    "layer norm over two dims": (trained(nn.LayerNorm([3, 4], bias=False)), [r(2, 3, 4)]),
    "layer norm without weights": (
        lambda x, b: [F.layer_norm(x, (4,)), F.layer_norm(x, (4,), bias=b)],
        [r(2, 3, 4), r(4)],
    ),
    "rms norm": (trained(nn.RMSNorm(4, eps=1e-3)), [r(2, 3, 4)]),
    "rms norm without epsilon": (nn.RMSNorm(4, elementwise_affine=False), [r(2, 3, 4)]),
    "group norm": (trained(nn.GroupNorm(2, 4)), [r(2, 4, 3, 5)]),
    "instance norm": (trained(nn.InstanceNorm2d(4, affine=True)), [r(2, 4, 3, 5)]),
    "instance norm by statistics": (
        trained(nn.InstanceNorm1d(4, track_running_stats=True)),
        [r(2, 4, 5)],
    ),
    "batch norm": (trained(nn.BatchNorm2d(4)), [r(2, 4, 3, 5)]),
    "batch norm of features": (trained(nn.BatchNorm1d(4, affine=False)), [r(2, 4)]),
}


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    model, args = CASES[name]
    check(model, *args)


Q, K, V = r(2, 4, 3, 8), r(2, 4, 5, 8), r(2, 4, 5, 6)
SEEN = torch.tensor([[True, False, True, True, False], [False] * 5, [True] * 5])

ATTENTION: dict[str, Callable[..., torch.Tensor]] = {
    "plain": lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
    "scaled": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.2),
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, q, q, is_causal=True),
    "causal over more keys": lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, is_causal=True
    ),
    "with a bool mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, SEEN),
    "with an added mask": lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, torch.arange(30.0).reshape(2, 1, 3, 5)
    ),
    "grouped queries": lambda q, k, v: F.scaled_dot_product_attention(
        q, k[:, :2], v[:, :2], enable_gqa=True
    ),
    "without heads": lambda q, k, v: F.scaled_dot_product_attention(
        q[0], k[0], v[0], torch.arange(60.0).reshape(4, 3, 5)
    ),
    "more batch dims": lambda q, k, v: F.scaled_dot_product_attention(q[None], k[None], v[None]),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(check: Callable[..., Any], name: str):
    module = check(ATTENTION[name], Q, K, V)
    assert any(isinstance(op, AttentionOp) for op in module.walk())


def test_attention_module(check: Callable[..., Any]):
    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    dynamic = ({0: Dim("batch"), 1: Dim("length")},)
    check(SelfAttention(), r(2, 5, 8), dynamic=dynamic, others=[[r(3, 7, 8)]])


def test_encoder_layer(check: Callable[..., Any]):
    check(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), r(2, 5, 8))

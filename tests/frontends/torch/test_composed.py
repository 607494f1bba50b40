"""Operators that are decomposed into others, against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

torch.manual_seed(9)
X, Y = torch.randn(3, 4), torch.randn(3, 4)
X[0, 0], Y[1, 1] = torch.nan, torch.nan
A, B = torch.randn(2, 3, 4), torch.randn(2, 4, 5)

CASES: dict[str, Callable[..., Any]] = {
    "with and without NaN": lambda x, y, a, b: [
        *(torch.fmax(x, y), torch.fmin(x, y), torch.signbit(x), torch.copysign(a, -1.5)),
        *(torch.copysign(a, a.flip(0)), torch.signbit(a.int()), torch.signbit(-a * 0)),
    ],
    "products": lambda x, y, a, b: [
        torch.addbmm(a[0, :, :1].expand(3, 5), a, b, beta=2, alpha=0.5),
        nn.functional.bilinear(a, a, torch.ones(2, 4, 4), torch.ones(2)),
        torch.ldexp(a, torch.tensor([1, 2, -1, 0])),
    ],
    "distances": lambda x, y, a, b: [
        *(torch.cdist(a, a + 1, p) for p in (1.0, 2.0)),
        torch.dist(a, a + 1),
        nn.functional.pairwise_distance(a, a + 1),
        nn.functional.cosine_similarity(a, a.flip(0), -1),
    ],
    "placed one after another": lambda x, y, a, b: [
        a.masked_scatter(a > 0, torch.arange(24.0)),
        a.masked_scatter(a[0] > 0, torch.arange(24.0)),
        a.put(torch.tensor([3, 1]), torch.tensor([1.5, 2.5])),
    ],
    "strided": lambda x, y, a, b: [
        torch.as_strided(a, (2, 3), (1, 2), 4),
        torch.as_strided_copy(b, (5,), (4,)),
    ],
    "copies of views": lambda x, y, a, b: [
        *(
            torch.view_copy(a, (6, 4)),
            torch.permute_copy(a, (2, 0, 1)),
            torch.expand_copy(a, (3, -1, -1, -1)),
        ),
        *(torch.slice_copy(a, 1, 1, 3), torch.select_copy(a, 1, 2), torch.t_copy(a[0])),
        *torch.ops.aten.unbind_copy(a, 1),
    ],
    "losses": lambda x, y, a, b: [
        nn.functional.mse_loss(a, a + 1),
        nn.functional.cross_entropy(a[0], torch.tensor([1, 0, 3])),
        nn.functional.kl_div(a.log_softmax(-1), a.softmax(-1), reduction="batchmean"),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    check(CASES[name], X, Y, A, B)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_embeddings(check: Callable[..., Any], mode: str):
    bag = nn.EmbeddingBag(9, 4, mode=mode, padding_idx=2)
    check(bag, torch.tensor([1, 2, 8, 0, 5, 2]), torch.tensor([0, 2, 2]))
    check(bag, torch.tensor([[1, 2, 8], [0, 5, 2]]))


@pytest.mark.parametrize("module", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_modules(check: Callable[..., Any], module: Any):
    check(module(3, 4, num_layers=2, bidirectional=True, batch_first=True), torch.randn(2, 5, 3))

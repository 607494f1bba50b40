"""Sizes that are computed with: as integers, as floats, as bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import Dim
from torch.nn import functional as F


def test_sizes_as_numbers(check: Callable[..., Any]):
    def forward(x: torch.Tensor) -> list[torch.Tensor]:
        n = x.shape[0]
        return [
            *(x * n, x / (n**0.5), x * (n / 3), x + 1 / n, x - n // 2, n % 3 + x, x * -(n / 2)),
            *(x * torch.sym_sqrt(n), torch.full((2,), n / 2), torch.scalar_tensor(n) * 1.5),
            *(x * (n / 2 + 1 - n * 0.25), torch.where(x > n / 9, x, n)),
            F.layer_norm(x * n, (3,)),
        ]

    others = [[torch.randn(size, 3)] for size in (3, 9)]
    check(forward, torch.randn(5, 3), dynamic=(({0: Dim("n")},),), others=others)


def test_sizes_as_results(check: Callable[..., Any]):
    def forward(x: torch.Tensor) -> list[Any]:
        n = x.shape[0]
        return [n, n * 2 + 1, n // 2, x.shape[1], x.numel(), x[: n - 1], torch.arange(n - 1, n + 2)]

    others = [[torch.randn(size, 3)] for size in (3, 9)]
    check(forward, torch.randn(5, 3), dynamic=(({0: Dim("n")},),), others=others)

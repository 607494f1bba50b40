"""Views, joins and pads against torch, with sizes known and symbolic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.export import Dim
from torch.nn import functional as F

torch.manual_seed(3)
X, Y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)

CASES: dict[str, Callable[..., Any]] = {
    "views": lambda x, y: [
        *(x.view(6, 4), x.reshape(-1), x.flatten(1), x.unflatten(2, (2, 2)), x.view_as(y)),
        *(x.unsqueeze(-1), x[:, None], x[:1].squeeze(0), x[:1, :1].squeeze(), x.squeeze(1)),
    ],
    "orders": lambda x, y: [
        *(x.permute(2, 0, 1), x.transpose(-1, 0), x[0].t(), x.mT, x.movedim(0, 2)),
        *(x.swapaxes(0, 1), x.flip(0, -1), x.contiguous(), torch.fliplr(x), torch.rot90(x)),
    ],
    "repetition": lambda x, y: [
        *(x[:, :1].expand(-1, 3, -1), x.expand(5, 2, 3, 4), x[0].expand_as(y)),
        *(x.repeat(1, 2, 3), x.repeat(2, 1, 1, 2), x.tile(2), x.repeat_interleave(2, 1)),
        torch.broadcast_to(x[0, 0], (3, 4)),
    ],
    "parts": lambda x, y: [
        *(x[1], x[:, -1], x[..., 1:-1], x[:, ::2], x[:, 5:], x[-1, 1:, 0], x.narrow(2, 1, 2)),
        *x.split(2, -1),
        *x.split([1, 2], 1),
        *x.chunk(3, 2),
        *x.unbind(1),
        *torch.tensor_split(x, 3, 2),
        *(x.diagonal(), x.diagonal(-1, 2, 1), x.diagonal(1, 1, 2), x[0].diag()),
    ],
    "joins": lambda x, y: [
        *(torch.cat([x, y], 1), torch.stack([x, y], -1), torch.hstack([x, y]), torch.cat([x])),
        *(torch.cat([x, torch.empty(0)]), torch.cat([x, y.to(torch.float64)], -1)),
        torch.stack(torch.meshgrid(x[0, 0], x[0, :, 0], indexing="ij")),
    ],
    "rolls": lambda x, y: [x.roll(1, 0), x.roll((2, -1), (1, 2)), x.roll(3), x.roll(0, 1)],
    "pads": lambda x, y: [
        *(F.pad(x, (1, 2)), F.pad(x, (0, 1, 2, 0), value=3.5), F.pad(x, (-1, 1, 0, -1))),
        *(F.pad(x, (2, 1), mode=mode) for mode in ("reflect", "replicate", "circular")),
    ],
    "parts replaced": lambda x, y: [
        *(_put(x, np_index, y) for np_index in (1, (slice(None), slice(1, 3)), (..., -1))),
        *(_put(x, np_index, y) for np_index in ((..., slice(None, None, 2)), (0, 0))),
        torch.zeros_like(x).copy_(y[0]),
    ],
    "made": lambda x, y: [
        *(torch.zeros(2, 3), torch.ones_like(x), torch.full((2,), 7), x.new_zeros(3)),
        *(torch.arange(5), torch.arange(2, 9, 3), torch.arange(0, 1, 0.25), torch.eye(3, 4)),
        *(torch.linspace(0, 1, 5), torch.tensor([1.5, 2]), torch.full_like(x, 2, dtype=torch.int)),
        torch.empty(3).fill_(2),
    ],
}


def _put(x: torch.Tensor, where: Any, y: torch.Tensor) -> torch.Tensor:
    result = x.clone()
    result[where] = y[where] * 2
    return result


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    check(CASES[name], X, Y)


DYNAMIC: dict[str, Callable[..., Any]] = {
    "views": lambda x: [x.view(x.shape[0], -1), x.flatten(0, 1), x.reshape(-1), x.unsqueeze(0)],
    "orders": lambda x: [x.transpose(0, 1), x.flip(0)],
    "repetition": lambda x: [x[:, :1].expand(-1, 3, -1), x.repeat(2, 1, 1), x[:1].expand(*x.shape)],
    "parts": lambda x: [x[1:], x[-1], x[:-1, 0], x[::2]],
    "joins": lambda x: [torch.cat([x, x]), torch.stack([x, x], 1), torch.cat([x[:1], x, x[2:]])],
    "rolls and pads": lambda x: [x.roll(1, 0), F.pad(x, (0, 0, 0, 0, 1, 2))],
    "made": lambda x: [
        *(torch.arange(x.shape[0]), torch.zeros(x.shape[0], 2), torch.ones_like(x)),
        *(x.new_full((x.shape[0] * 2,), 3), torch.arange(2, 2 * x.shape[0] + 2, 2), x.shape[0] * 2),
        *(torch.eye(x.shape[0]), x * x.shape[0], x.mean(0), x.sum() / x.shape[0]),
    ],
}


@pytest.mark.parametrize("name", DYNAMIC)
def test_symbolic_sizes(check: Callable[..., Any], name: str):
    x = torch.randn(6, 3, 2)
    others = [[torch.randn(size, 3, 2)] for size in (5, 8)]
    module = check(DYNAMIC[name], x, dynamic=(({0: Dim("batch", min=4)},),), others=others)
    assert "!mlc.tensor<[batch, 3, 2] f32>" in str(module)

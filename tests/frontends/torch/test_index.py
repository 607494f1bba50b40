"""Gathers, scatters, sorts and scans against torch, with sizes known and symbolic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional as F

torch.manual_seed(6)
X = torch.randn(4, 5, 6)
N, M = torch.tensor([3, 0, -1]), torch.tensor([[1], [2]])
E = torch.randint(0, 4, (3, 5, 6))
REDUCTIONS = ("sum", "prod", "amax", "amin", "mean")

CASES: dict[str, Callable[..., Any]] = {
    "gathers": lambda x, i, j, e: [
        *(torch.index_select(x, 1, i.abs()), torch.gather(x, 0, e), torch.take(x, i)),
        *(torch.take_along_dim(x, e, 0), F.embedding(i.abs(), x[0]), torch.gather(x, 0, e[:2, 1:])),
    ],
    "by one tensor": lambda x, i, j, e: [x[i], x[:, i], x[..., j], x[1, i], x[:, :, 2:][i]],
    "by several tensors": lambda x, i, j, e: [
        *(x[i, i], x[:, i, i], x[i, :, i], x[j, i], x[:, j, i], x[i, i, i], x[None, i, :, j]),
        *(x[i, 1:3], x[torch.arange(4), torch.arange(4)]),
    ],
    "triangles": lambda x, i, j, e: [
        *(x.tril(), x.triu(1), x[0].tril(-2), torch.ones(4, 4).tril().bool(), (x > 0).triu()),
        *(torch.tril_indices(3, 4), torch.triu_indices(4, 3, 1)),
    ],
    "windows": lambda x, i, j, e: [x.unfold(1, 3, 1), x.unfold(-1, 2, 2), x.unfold(0, 4, 1)],
    "im2col": lambda x, i, j, e: [F.unfold(x[None], 3, padding=1), F.unfold(x[None], 2, stride=2)],
    "one hot": lambda x, i, j, e: [F.one_hot(i.abs(), 5), torch.isin(i, torch.tensor([3, 7]))],
    "buckets": lambda x, i, j, e: [
        torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5])),
        torch.searchsorted(torch.tensor([0, 1, 3]), i, right=True),
    ],
    "scatters": lambda x, i, j, e: [
        *(x.scatter(0, e, x), x.scatter(0, e[:1, :2], 3.5), x.scatter_add(0, e, x * 2)),
        *(x.scatter_reduce(0, e, x, op) for op in REDUCTIONS),
        *(x.scatter_reduce(0, e, x, op, include_self=False) for op in REDUCTIONS),
        x.sum().scatter_add(0, torch.tensor(0), x.mean()),
    ],
    "put": lambda x, i, j, e: [
        *(_put(x, (i,), 1.5), _put(x, (slice(None), i), 2), _put(x, (i, i), -1)),
        *(_put(x, (j, i, slice(None)), 3), _put(x, (i, slice(None), i), 7)),
        x.index_put((i.abs(),), x[:3], accumulate=True),
        x.index_add(1, i.abs(), x[:, :3]),
        x.index_copy(2, i.abs(), x[..., :3]),
        x.index_fill(0, i.abs(), 9),
    ],
    "masks": lambda x, i, j, e: [_put(x, x > 0.5, 0), _put(x, x[..., 0] > 0, 1)],
    "masks with a value for each": lambda x, i, j, e: [
        x.index_put((torch.tensor([True, False, True, True]),), x[1:]),
        x[0].index_put((torch.eye(5, 6).bool(),), x[0, 1, :5]),
    ],
    "sorted": lambda x, i, j, e: [
        *x.topk(3),
        *x.topk(2, 0, largest=False),
        *x.sort(1),
        *x.sort(descending=True),
        *(x.argsort(0), x.median(), *x.median(1), *x.kthvalue(2, 1, keepdim=True), x.msort()),
    ],
    "scans": lambda x, i, j, e: [
        *(x.cumsum(0), x.cumprod(-1), i.cumsum(0), (x > 0).cumsum(1), x.sum().cumsum(0)),
        *(x.half().cumsum(1, dtype=torch.float32),),
    ],
}


def _put(x: torch.Tensor, where: Any, value: float) -> torch.Tensor:
    result = x.clone()
    result[where] = value
    return result


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    check(CASES[name], X, N, M, E)


class Cache(nn.Module):
    """One step of a decoder: a table, positions from a size, a cache that grows."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(11, 4), nn.Embedding(32, 4)

    def forward(self, ids: torch.Tensor, past: torch.Tensor) -> dict[str, torch.Tensor]:
        length = past.shape[1]
        x = self.tokens(ids) + self.places(torch.arange(length, length + ids.shape[1]))
        seen = torch.cat([past, x], 1)
        places = torch.arange(seen.shape[1])
        allowed = places[None, :] <= places[length:, None]
        scores = (x @ seen.mT).masked_fill(~allowed, -1e9)
        return {"out": scores.softmax(-1) @ seen, "past": seen}


def test_a_growing_cache(check: Callable[..., Any]):
    def inputs(batch: int, new: int, old: int) -> list[torch.Tensor]:
        return [torch.randint(0, 11, (batch, new)), torch.randn(batch, old, 4)]

    batch, new, old = Dim("batch"), Dim("new"), Dim("past_length")
    dynamic = ({0: batch, 1: new}, {0: batch, 1: old})
    others = [inputs(2, 1, 7), inputs(5, 6, 3)]
    module = check(Cache(), *inputs(3, 4, 5), dynamic=dynamic, others=others)
    assert '!mlc.tensor<[batch, "new + past_length", 4] f32>' in str(module)


DYNAMIC: dict[str, Callable[..., Any]] = {
    "gathers": lambda x, i: [x[i], x[:, i], x[i, i], x[:, :, i[:1]]],
    "triangles": lambda x, i: [x.mT.tril(), x.triu(x.shape[0] // 2)],
    "scatters": lambda x, i: [_put(x, (i,), 1), _put(x, x > 0, 0)],
    "sorted": lambda x, i: [*x.sort(0), x.cumsum(0), *x.topk(2, 0), x.argmax(0)],
}


@pytest.mark.parametrize("name", DYNAMIC)
def test_symbolic_sizes(check: Callable[..., Any], name: str):
    dynamic = (({0: Dim("rows", min=3)}, None),)
    others = [[torch.randn(rows, 5, 4), torch.tensor([2, 0, 1])] for rows in (4, 9)]
    check(
        DYNAMIC[name], torch.randn(6, 5, 4), torch.tensor([2, 0, 1]), dynamic=dynamic, others=others
    )

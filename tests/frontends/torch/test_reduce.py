"""Reductions against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

torch.manual_seed(1)
X, N = torch.randn(2, 3, 4), torch.randint(-9, 9, (3, 4))

CASES: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "over all": (
        lambda x, i: [
            *(x.sum(), x.mean(), x.max(), x.min(), x.prod(), x.argmax(), x.argmin()),
            *(i.sum(), i.max(), i.prod(), (i > 0).sum(), (i > 0).any(), i.all()),
        ],
        [X, N],
    ),
    "along axes": (
        lambda x, i: [
            *(x.sum(-1), x.mean((0, 2), keepdim=True), x.amax((0, 1)), x.amin(2), x.prod(1)),
            *(x.argmax(1), x.argmin(-1, keepdim=True), i.argmax(0), i.any(1), i.all(0)),
            *(x.sum(1, dtype=torch.float64), x.sum((), keepdim=True)),
        ],
        [X, N],
    ),
    "values and indices": (lambda x: [*x.max(1), *x.min(-1, keepdim=True)], [X]),
    "spread": (
        lambda x: [
            *(x.var(), x.std(1), x.var((0, 2), correction=0, keepdim=True)),
            *torch.var_mean(x, 1),
            *torch.std_mean(x, (0, 1), correction=2),
        ],
        [X],
    ),
    "norms": (
        lambda x: [
            *(torch.linalg.vector_norm(x, p, dim=1) for p in (0, 1, 2, 3, float("inf"))),
            *(x.norm(), x.norm(dim=-1, keepdim=True), torch.nn.functional.normalize(x)),
            *(x.logsumexp(1), x.logsumexp((0, 2), keepdim=True)),
        ],
        [X],
    ),
    "of a scalar": (lambda x: [x.sum(), x.sum(0), x.mean(), *x.max(0), x.argmax()], [X[0, 0, 0]]),
}


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    function, args = CASES[name]
    check(function, *args)

"""Matrix products against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

torch.manual_seed(2)


def r(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


CASES: dict[str, tuple[Any, list[torch.Tensor]]] = {
    "matmul": (
        lambda a, b, v: [a @ b, a @ v, v @ b, v @ v, torch.mm(a[0], b), torch.mv(a[0], v)],
        [r(2, 3, 4), r(4, 4), r(4)],
    ),
    "batches": (
        lambda a, b: [a @ b, torch.bmm(a, b), a @ b[0], a.unsqueeze(1) @ b],
        [r(5, 2, 3), r(5, 3, 4)],
    ),
    "linear": (nn.Linear(4, 5), [r(2, 3, 4)]),
    "linear of a vector": (nn.Linear(4, 5, bias=False), [r(4)]),
    "with addends": (
        lambda c, a, b: [
            torch.addmm(c, a, b),
            torch.addmm(c, a, b, beta=0, alpha=2),
            torch.baddbmm(c, a[None], b[None], beta=3),
            torch.addmv(c, a, b[:, 0]),
            torch.outer(c, c),
        ],
        [r(4), r(4, 4), r(4, 4)],
    ),
    "einsum": (
        lambda a, b: [
            torch.einsum("bij,bjk->bik", a, b),
            torch.einsum("bij,bjk->bki", a, b),
            torch.einsum("bij,bij->b", a, a),
            torch.einsum("bij->ji", a),
        ],
        [r(5, 2, 3), r(5, 3, 4)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    model, args = CASES[name]
    check(model, *args)

"""Resizes against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.export import Dim
from torch.nn import functional as F

torch.manual_seed(7)
X = torch.randn(2, 3, 5, 6)

CASES: dict[str, Callable[..., Any]] = {
    "nearest": lambda x: [
        *(F.interpolate(x, scale_factor=2), F.interpolate(x, size=(7, 3))),
        *(F.interpolate(x, scale_factor=1.7), F.interpolate(x[0], size=8)),
        F.interpolate(x[None], scale_factor=(2, 1, 2)),
        F.interpolate(x, size=(7, 4), mode="nearest-exact"),
    ],
    "linear": lambda x: [
        *(F.interpolate(x, size=size, mode="bilinear") for size in ((10, 12), (7, 3), (1, 1))),
        F.interpolate(x, scale_factor=1.7, mode="bilinear"),
        F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
        F.interpolate(x, size=(9, 4), mode="bilinear", align_corners=True),
        F.interpolate(x[0], size=9, mode="linear"),
        F.interpolate(x[None], size=(3, 7, 7), mode="trilinear"),
    ],
    "cubic": lambda x: [
        F.interpolate(x, size=(7, 9), mode="bicubic"),
        F.interpolate(x, size=(7, 9), mode="bicubic", align_corners=True),
    ],
    "antialiased": lambda x: [
        F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True),
        F.interpolate(x, size=(3, 8), mode="bicubic", antialias=True),
    ],
    "by a grid": lambda x: [
        F.grid_sample(x, torch.tanh(x.permute(0, 2, 3, 1)[..., :2]) * 1.3, mode, padding, corners)
        for mode, padding, corners in (
            ("bilinear", "zeros", False),
            ("nearest", "border", True),
            ("bicubic", "reflection", False),
        )
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    check(CASES[name], X, atol=1e-4)


def test_symbolic_sizes(check: Callable[..., Any]):
    def resized(x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        return [
            F.interpolate(x, scale_factor=2),
            F.interpolate(x, size=y.shape[2:], mode="bilinear"),
        ]

    height, width = Dim("height", min=2), Dim("width", min=2)
    dynamic = (({2: height}, {2: Dim("rows"), 3: width}),)
    args = torch.randn(1, 2, 5, 6), torch.randn(1, 2, 10, 3)
    others = [[torch.randn(1, 2, 3, 6), torch.randn(1, 2, 7, 5)]]
    module = check(resized, *args, dynamic=dynamic, others=others)
    assert '"2*height"' in str(module)

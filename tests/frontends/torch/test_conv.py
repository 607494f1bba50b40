"""Convolutions, pools and resampling modules against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional as F

torch.manual_seed(4)


def r(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


CASES: dict[str, tuple[Any, list[torch.Tensor]]] = {
    "conv 1d": (nn.Conv1d(4, 6, 3, padding=1), [r(2, 4, 9)]),
    "conv 2d": (nn.Conv2d(3, 4, 3, stride=2, padding=(1, 2)), [r(2, 3, 8, 9)]),
    "conv 3d": (nn.Conv3d(2, 3, 2, bias=False), [r(1, 2, 4, 5, 3)]),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, dilation=2), [r(1, 4, 7, 8)]),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding="same"), [r(1, 4, 6, 6)]),
    "without batch": (nn.Conv2d(3, 4, 1), [r(3, 4, 4)]),
    "reflecting pads": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), [r(1, 3, 5, 5)]),
    "circular pads": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), [r(1, 3, 5, 5)]),
    "transposed": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        [r(2, 4, 5, 4)],
    ),
    "transposed 1d": (nn.ConvTranspose1d(2, 3, 4, dilation=2), [r(1, 2, 5)]),
    "max pools": (
        lambda x: [
            F.max_pool2d(x, 2),
            F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
            F.max_pool2d(x, (2, 3), stride=1, dilation=2),
            F.max_pool1d(x[0], 2),
            F.max_pool2d(x[0], 2),
            F.max_pool3d(x[None], 2),
            *F.max_pool2d(x, 3, padding=1, return_indices=True),
        ],
        [r(2, 3, 7, 8)],
    ),
    "average pools": (
        lambda x: [
            F.avg_pool2d(x, 2),
            F.avg_pool2d(x, 3, stride=2, padding=1),
            F.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
            F.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
            F.avg_pool2d(x, 2, divisor_override=3),
            F.avg_pool1d(x[0], 2, padding=1),
            F.avg_pool3d(x[None], 2),
        ],
        [r(2, 3, 7, 8)],
    ),
    "adaptive pools": (
        lambda x: [
            *(F.adaptive_avg_pool2d(x, size) for size in (1, (3, 4), (None, 2), (4, 5))),
            *(F.adaptive_max_pool2d(x, size) for size in (1, (2, 4), (4, 5))),
            F.adaptive_avg_pool1d(x[0], 4),
            F.adaptive_avg_pool1d(x[0], 3),
        ],
        [r(2, 3, 6, 8)],
    ),
    "pixel shuffle": (
        lambda x: [F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.channel_shuffle(x, 4)],
        [r(1, 8, 4, 6)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values(check: Callable[..., Any], name: str):
    model, args = CASES[name]
    check(model, *args, rtol=1e-4)


class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(pixels))), 3, 2, 1)
        x = F.avg_pool2d(x, 2, padding=1)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


def test_symbolic_sizes(check: Callable[..., Any]):
    sizes = {0: Dim("batch"), 2: Dim("height", min=16), 3: Dim("width", min=16)}
    others = [[r(5, 3, 33, 26)], [r(1, 3, 40, 17)]]
    module = check(Stem(), r(2, 3, 19, 20), dynamic=(sizes,), others=others)
    assert "!mlc.tensor<[batch, 3, height, width] f32>" in str(module)


def test_conditions_on_sizes_that_cannot_be_proved(check: Callable[..., Any]):
    def pooled(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)

    sizes = {2: Dim("height", min=4), 3: Dim("width", min=4)}
    check(pooled, r(1, 2, 7, 6), dynamic=((sizes,),), others=[[r(1, 2, 4, 9)]])

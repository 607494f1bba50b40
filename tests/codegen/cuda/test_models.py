"""Small models through the whole of it: cubins, artifact, runtime; kernels run interpreted.

The runtime talks to a stand-in for NVIDIA's driver, which reads arguments where the cubin says that
they are, and hands them to Triton's interpreter.
"""

from __future__ import annotations

from pathlib import Path

import mlc
import numpy as np
import pytest
import torch
from cuda_interpreted import interpreting
from cuda_standin import standing_in
from mlc.runtime import Artifact
from torch import nn
from torch.nn import functional as F

TARGET = "cuda:sm_90"


class BertLayer(nn.Module):
    def __init__(self, width: int = 48, heads: int = 3):
        super().__init__()
        self.heads = heads
        self.qkv = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.out, self.up = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = (m(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for m in self.qkv)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.norms[0](x + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.norms[1](x + self.down(F.gelu(self.up(x))))


class ResNetBlock(nn.Module):
    def __init__(self, channels: int = 16):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, 2, 1)
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels))
            for _ in range(2)
        )
        self.by_channel = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.head = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        x = F.relu(x + self.convs[1](F.relu(self.convs[0](x))))
        return self.head(F.silu(self.by_channel(x)).mean((2, 3))).softmax(1)


class DecodeStep(nn.Module):
    def __init__(self, width: int = 32, heads: int = 4, groups: int = 2, words: int = 50):
        super().__init__()
        self.heads, self.groups = heads, groups
        self.words = nn.Embedding(words, width)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width * groups // heads, bias=False)
        self.scale = nn.Parameter(torch.ones(width))
        self.logits = nn.Linear(width, words, bias=False)

    def forward(self, word: torch.Tensor, keys: torch.Tensor, values: torch.Tensor):
        x = self.words(word)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        q = self.q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(2, (self.groups, -1)).transpose(1, 2).chunk(2, -1)
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        share = self.heads // self.groups
        wide = keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
        mixed = F.scaled_dot_product_attention(q, *wide)
        return self.logits(mixed.transpose(1, 2).flatten(2)).argmax(-1), keys, values


def run(module: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path) -> list[np.ndarray]:
    """The results of a module, compiled to a file and loaded on the stand-in."""
    file = path / "model.mlc"
    mlc.compile(module, inputs=inputs, target=TARGET, cache=False).save(file)
    with standing_in(interpreting(Artifact.open(file))) as gpu:
        model = mlc.load(file)
        results = model(*(i.numpy() for i in inputs))
        assert len(gpu.ran) == len(model.manifest["sites"])
    return list(results) if isinstance(results, tuple) else [results]


MODELS = {
    "bert layer": (BertLayer(), (torch.randn(2, 19, 48), torch.zeros(2, 1, 1, 19))),
    "resnet block": (ResNetBlock(), (torch.randn(2, 3, 21, 21),)),
    "decode step": (
        DecodeStep(),
        (torch.tensor([[7], [3]]), torch.randn(2, 2, 13, 8), torch.randn(2, 2, 13, 8)),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_run_interpreted(name: str, tmp_path: Path):
    module, inputs = MODELS[name]
    module.eval()
    with torch.no_grad():
        wanted = module(*inputs)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for got, want in zip(run(module, inputs, tmp_path), wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)

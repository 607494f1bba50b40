"""One artifact of a transformer layer with open batch and sequence, on many sizes."""

from __future__ import annotations

from pathlib import Path

import mlc
import numpy as np
import pytest
import torch
from mlc.runtime import InputError
from torch import nn

SIZES = [(1, 1), (1, 2), (3, 17), (2, 64), (1, 127), (5, 3)]


class Layer(nn.Module):
    """Attention and feed-forward over tokens, with a mask and at most 128 positions."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, 48), nn.Embedding(128, 48)
        self.layer = nn.TransformerEncoderLayer(48, 4, 96, 0.0, "gelu", batch_first=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        return self.layer(x)


@pytest.fixture(scope="module")
def module() -> Layer:
    torch.manual_seed(0)
    return Layer().eval()


@pytest.fixture(scope="module")
def path(module: Layer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The saved artifact."""
    axes = {0: torch.export.Dim("N"), 1: torch.export.Dim("S", max=128)}
    ids = torch.zeros(2, 9, dtype=torch.int64)
    model = mlc.compile(module, inputs=(ids,), dynamic_shapes=(axes,), cache=False)
    path = tmp_path_factory.mktemp("artifact") / "layer.mlc"
    model.save(path)
    return path


@pytest.mark.parametrize("threads", [1, 2])
def test_every_size_is_right(module: Layer, path: Path, threads: int):
    model = mlc.load(path, threads=threads)
    for size in SIZES:
        ids = torch.randint(0, 50, size)
        with torch.no_grad():
            wanted = module(ids).numpy()
        np.testing.assert_allclose(model(ids.numpy()), wanted, 1e-4, 1e-5)


def test_more_than_the_limit_is_refused(path: Path):
    with pytest.raises(InputError, match="S is 129, but the model was compiled for at most 128"):
        mlc.load(path)(np.zeros((1, 129), np.int64))

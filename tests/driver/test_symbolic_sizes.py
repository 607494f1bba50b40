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


class Hourglass(nn.Module):
    """A picture that is halved twice, and doubled twice beside what it was before."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, 2, 1) for _ in range(2))
        self.up = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=1) for _ in range(2))
        self.grow = nn.Upsample(scale_factor=2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        kept = [x, x := self.down[0](x)]
        x = self.down[1](x).relu()
        for layer in self.up:
            x = layer(torch.cat([self.grow(x), kept.pop()], 1)).relu()
        return x


def hourglass_onnx(module: Hourglass, path: Path) -> Path:
    """What an exporter writes: sizes that it does not relate to each other."""
    picture, axes = torch.zeros(1, 3, 16, 16), {"x": {0: "N", 2: "H", 3: "W"}}
    torch.onnx.export(module, (picture,), path, input_names=["x"], dynamic_axes=axes, dynamo=False)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sizes_are_multiples_of_what_halving_and_doubling_keeps(tmp_path: Path):
    torch.manual_seed(0)
    module = Hourglass().eval()
    model = mlc.compile(hourglass_onnx(module, tmp_path / "hourglass.onnx"), cache=False)
    assert model.inputs[0].shape == ("N", 3, "4*H", "4*W")
    for size in [(1, 3, 16, 16), (2, 3, 4, 28), (1, 3, 20, 8)]:
        x = torch.randn(*size)
        with torch.no_grad():
            torch.testing.assert_close(model(x), module(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="dimension 3 is 18: no multiple of 4"):
        model(np.zeros((1, 3, 16, 18), np.float32))


def test_sizes_of_torch_that_are_multiples():
    module = Hourglass().eval()
    axes = {axis: 4 * torch.export.Dim(name, max=50) for axis, name in ((2, "h"), (3, "w"))}
    picture = torch.randn(1, 3, 16, 16)
    model = mlc.compile(module, inputs=(picture,), dynamic_shapes=(axes,), cache=False)
    x = torch.randn(1, 3, 24, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(x), module(x), rtol=1e-4, atol=1e-5)

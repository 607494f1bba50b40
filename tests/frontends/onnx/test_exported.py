"""Modules exported by torch with sizes that are open, by both exporters."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mlc.frontends.onnx import load_onnx
from mlc.ir.interpreter import interpret
from mlc.ir.module import main_function
from mlc.ir.types import type_of

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.slow


class Attention(nn.Module):
    """Heads by reshaping, a causal mask from the sizes, positions from a table."""

    def __init__(self):
        super().__init__()
        self.places = nn.Embedding(64, 16)
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: Any) -> Any:
        batch, length, _ = x.shape
        x = x + self.places.weight[:length]
        parts = self.qkv(x).view(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        seen = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        scores = (q @ k.transpose(-1, -2) / 2).masked_fill(~seen, float("-inf"))
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)[:, -1]


class Pyramid(nn.Module):
    """Convolutions and pools, resized to the size of the input."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Any) -> Any:
        y = F.max_pool2d(torch.relu(self.norm(self.first(x))), 3, 2, ceil_mode=True)
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class Patches(nn.Module):
    """Windows of an image as a sequence, shifted."""

    def forward(self, x: Any) -> Any:
        n, c, h, w = x.shape
        x = torch.roll(x, (1, 2), (2, 3))
        x = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(n, (h // 4) * (w // 4), 16 * c).mean(1)


CASES: dict[str, tuple[Callable[[], Any], tuple[int, ...], tuple[tuple[int, ...], ...], tuple]] = {
    "attention": (Attention, (2, 8, 16), ((3, 11, 16), (1, 1, 16)), ("batch", "length")),
    "pyramid": (Pyramid, (1, 3, 32, 48), ((2, 3, 36, 40),), ("batch", None, "height", "width")),
    "patches": (Patches, (1, 3, 16, 24), ((5, 3, 16, 24),), ("batch", None)),
}


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "script"])
@pytest.mark.parametrize("name", CASES)
def test_open_sizes(name: str, dynamo: bool):
    make, shape, sizes, dims = CASES[name]
    module = make().eval()
    imported = load_onnx(_exported(module, torch.rand(shape), dims, dynamo))
    (argument,) = main_function(imported).body.block.args
    assert not type_of(argument).is_static
    for size in sizes:
        x = torch.rand(size)
        (got,) = interpret(imported, [x.numpy()])
        np.testing.assert_allclose(got, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def _exported(module: Any, x: Any, dims: tuple, dynamo: bool) -> bytes:
    named = {k: name for k, name in enumerate(dims) if name}
    auto = {k: torch.export.Dim.AUTO for k in named}
    given = {"dynamic_shapes": (auto,)} if dynamo else {"dynamic_axes": {"x": named}}
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (x,), file, dynamo=dynamo, input_names=["x"], opset_version=18, **given
        )
    return file.getvalue()

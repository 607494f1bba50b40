"""Layers as torch.onnx really exports them, by both exporters: what is recognised."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import counts, run
from mlc.frontends.onnx import load_onnx
from mlc.passes.manager import difference, run_passes
from mlc.passes.pipeline import pipeline

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.slow


class Eager(nn.Module):
    """Attention as written out by hand, with grouped keys, rotary angles and a causal mask."""

    def __init__(self, heads: int = 4, groups: int = 2, width: int = 8):
        super().__init__()
        self.heads, self.groups, self.width = heads, groups, width
        self.q = nn.Linear(32, heads * width, bias=False)
        self.k = nn.Linear(32, groups * width)
        self.v = nn.Linear(32, groups * width)
        self.out = nn.Linear(heads * width, 32)

    def split(self, x: Any, count: int) -> Any:
        return x.view(x.shape[0], -1, count, self.width).transpose(1, 2)

    def turn(self, x: Any) -> Any:
        half = self.width // 2
        angles = torch.arange(x.shape[2])[:, None] * 10.0 ** -torch.arange(half)
        both = torch.cat([angles, angles], -1)
        turned = torch.cat([-x[..., half:], x[..., :half]], -1)
        return x * both.cos() + turned * both.sin()

    def repeat(self, x: Any) -> Any:
        b, g, t, d = x.shape
        times = self.heads // self.groups
        return x[:, :, None].expand(b, g, times, t, d).reshape(b, self.heads, t, d)

    def forward(self, x: Any) -> Any:
        q = self.turn(self.split(self.q(x), self.heads))
        k = self.repeat(self.turn(self.split(self.k(x), self.groups)))
        v = self.repeat(self.split(self.v(x), self.groups))
        scores = q @ k.transpose(2, 3) / math.sqrt(self.width)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
        mixed = scores.softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(x.shape[0], -1, self.heads * self.width))


class Fused(nn.Module):
    """Attention by torch's function, with a mask."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(32, 96)

    def forward(self, x: Any, mask: Any) -> Any:
        q, k, v = (y.unflatten(-1, (4, 8)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        seen = mask[:, None, None, :] > 0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return y.transpose(1, 2).flatten(2)


class Rms(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(32))

    def forward(self, x: Any) -> Any:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class ChannelNorm(nn.Module):
    """ConvNeXt's layer norm of channels-first images, between convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.weight, self.bias = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        return self.second(self.weight[:, None, None] * x + self.bias[:, None, None])


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.SiLU(),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
        )
        for norm in (self.body[1], self.body[4]):
            nn.init.uniform_(norm.weight)
            nn.init.uniform_(norm.running_mean)
            nn.init.uniform_(norm.running_var)

    def forward(self, x: Any) -> Any:
        return F.relu(x + self.body(x))


class Gelu(nn.Module):
    def __init__(self, approximate: str):
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return F.gelu(x, approximate=self.approximate)


TOKENS, IMAGE = (2, 6, 32), (2, 4, 6, 7)
MODELS: dict[str, tuple[Callable[[], Any], list[tuple], dict[str, int]]] = {
    "eager attention": (Eager, [TOKENS], {"attention": 1, "rotary": 2, "softmax": 0, "matmul": 4}),
    "fused attention": (Fused, [TOKENS, (2, 6)], {"attention": 1, "softmax": 0, "matmul": 1}),
    "rms norm": (Rms, [TOKENS], {"rms_norm": 1, "mul": 0}),
    "layer norm": (lambda: nn.LayerNorm(32), [TOKENS], {"layer_norm": 1, "mul": 0, "add": 0}),
    "channel norm": (ChannelNorm, [(2, 3, 6, 7)], {"layer_norm": 1, "transpose": 2, "add": 2}),
    "residual": (Residual, [IMAGE], {"conv": 2, "silu": 1, "add": 3, "mul": 0, "transpose": 2}),
    "gelu": (lambda: Gelu("none"), [TOKENS], {"gelu": 1, "mul": 0}),
    "gelu by tanh": (lambda: Gelu("tanh"), [TOKENS], {"gelu": 1, "mul": 0}),
}


def export(model: Any, inputs: list[Any], *, dynamo: bool, dynamic: bool) -> bytes:
    file = io.BytesIO()
    names = [f"x{k}" for k in range(len(inputs))]
    kind: dict[str, Any] = {"input_names": names, "dynamo": dynamo}
    if dynamic and dynamo:
        kind["dynamic_shapes"] = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    elif dynamic:
        kind["dynamic_axes"] = {name: {0: "batch"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(model, tuple(inputs), verbose=False, **kind)
            return program.model_proto.SerializeToString()
        torch.onnx.export(model, tuple(inputs), file, **kind)
    return file.getvalue()


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize("name", MODELS)
def test_exported(name: str, dynamo: bool, dynamic: bool, tmp_path: Any):
    make, shapes, wanted = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    inputs = [
        torch.rand(shape).round() if len(shape) == 2 else torch.randn(shape) for shape in shapes
    ]
    path = tmp_path / "model.onnx"
    path.write_bytes(export(model, inputs, dynamo=dynamo, dynamic=dynamic))
    module = load_onnx(path)
    run_passes(module, pipeline())
    got = {op: counts(module)[op] for op in wanted}
    with torch.no_grad():
        expected = model(*inputs).numpy()
    (value,) = run(module, *(x.numpy() for x in inputs))
    assert difference(expected, value.astype(np.float32)) < 1e-5
    assert got == wanted

"""Quantized programs, as PT2E and torchao export them, against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # defines the operators
from graphs import counts, first, run
from mlc.frontends.torch import load_torch
from mlc.ir.errors import MlcError
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.types import DTYPES, type_of
from mlc.passes.lowering import lowering
from mlc.passes.manager import run_passes
from mlc.passes.pipeline import pipeline
from native import Native
from torch import nn

torch.manual_seed(4)
q = torch.ops.quantized_decomposed
library = torch.library.Library("torchao", "FRAGMENT")
library.define(
    "dequantize_affine(Tensor input, SymInt[] block_size, Tensor scale, Tensor? zero_point, "
    "ScalarType input_dtype, Scalar? quant_min=None, Scalar? quant_max=None, "
    "ScalarType output_dtype=float32) -> Tensor"
)


@torch.library.impl(library, "dequantize_affine", "CompositeImplicitAutograd")
def _dequantize_affine(
    input, block_size, scale, zero_point, input_dtype, quant_min=None, quant_max=None,
    output_dtype=torch.float32,
):  # fmt: skip
    for dim, size in enumerate(block_size):
        scale = scale.repeat_interleave(size, dim)
        zero_point = zero_point.repeat_interleave(size, dim)
    return ((input - zero_point) * scale).to(output_dtype)


class Codes(nn.Module):
    """A product with decoded int8 or int4 codes."""

    def __init__(self, decode: Callable[..., torch.Tensor], low: int, high: int, *scales: int):
        super().__init__()
        self.decode, self.limits = decode, (low, high)
        self.register_buffer("codes", torch.randint(low, high + 1, (24, 64), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(*scales) * 0.01 + 0.01)
        self.register_buffer("zero", torch.randint(-2, 3, scales))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.decode(self.codes, self.scale, self.zero, *self.limits)
        return x @ weight.t()


def _by_channel(c: Any, s: Any, z: Any, low: int, high: int) -> torch.Tensor:
    return q.dequantize_per_channel(c, s, z, 0, low, high, torch.int8)


def _by_group(c: Any, s: Any, z: Any, low: int, high: int) -> torch.Tensor:
    kind = (torch.int8, 32, torch.float32)
    return q.dequantize_per_channel_group(c, s, z, low, high, *kind)


def _by_block(c: Any, s: Any, z: Any, low: int, high: int) -> torch.Tensor:
    return torch.ops.torchao.dequantize_affine(c, [1, 32], s, z, torch.int8, low, high)


WEIGHTS = {
    "per channel": (Codes(_by_channel, -128, 127, 24), "i8"),
    "per group": (Codes(_by_group, -8, 7, 24, 2), "i4"),
    "per block": (Codes(_by_block, -8, 7, 24, 2), "i4"),
    "of 2 bits": (Codes(_by_block, -2, 1, 24, 2), "i2"),
}


@pytest.mark.parametrize(("model", "dtype"), WEIGHTS.values(), ids=list(WEIGHTS))
def test_weights_stay_codes(check: Any, model: nn.Module, dtype: str):
    if dtype == "i2":
        model.zero.clamp_(-2, 1)  # pyright: ignore
    x = torch.randn(3, 64)
    module = check(model, x, rtol=1e-4)
    run_passes(module, pipeline())
    decode = first(module, DequantizeOp)
    assert type_of(decode.x).dtype == DTYPES[dtype]
    native = Native(module)
    np.testing.assert_allclose(native.run([x.numpy()])[0], model(x).numpy(), rtol=1e-3, atol=1e-5)


class Written(nn.Module):
    """A product with codes that the user's own code makes floats of."""

    def __init__(self, decode: Callable[[Written], torch.Tensor]):
        super().__init__()
        self.decode = decode
        self.register_buffer("codes", torch.randint(0, 256, (24, 64), dtype=torch.uint8))
        self.register_buffer("scale", torch.rand(24, 1) * 0.01 + 0.01)
        self.register_buffer("zero", torch.randint(100, 140, (24, 1), dtype=torch.uint8))
        self.register_buffer("scales", torch.rand(24, 2, 1) * 0.01 + 0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.decode(self).t()


WRITTEN: dict[str, Callable[[Any], torch.Tensor]] = {
    "scaled": lambda m: m.codes.float() * m.scale,
    "shifted": lambda m: (m.codes.float() - m.zero.float()) * m.scale,
    "grouped": lambda m: ((m.codes.view(24, 2, 32).float() - 128) * m.scales).view(24, 64),
}


@pytest.mark.parametrize("decode", WRITTEN.values(), ids=list(WRITTEN))
def test_weights_stay_codes_that_are_decoded_by_hand(check: Any, decode: Any):
    model, x = Written(decode), torch.randn(3, 64)
    module = check(model, x, rtol=1e-4, atol=1e-4)
    run_passes(module, pipeline())
    assert counts(module) == {"dequantize": 1, "matmul": 1}
    assert type_of(first(module, DequantizeOp).x).dtype == np.uint8
    (got,) = Native(module).run([x.numpy()])
    np.testing.assert_allclose(got, model(x).numpy(), rtol=1e-3, atol=1e-4)


CASES: dict[str, Any] = {
    "one scale": lambda x: q.dequantize_per_tensor(
        q.quantize_per_tensor(x, 0.02, 3, -128, 127, torch.int8), 0.02, 3, -128, 127, torch.int8
    ),
    "narrow limits": lambda x: q.quantize_per_tensor(x, 0.5, 0, -8, 7, torch.int8),
    "channels": lambda x: q.quantize_per_channel(
        x, torch.full((4,), 0.03), torch.arange(4), 1, 0, 255, torch.uint8
    ),
    "rows": lambda x: q.dequantize_per_token(
        q.quantize_per_token(
            x, torch.full((3, 1), 0.03), torch.zeros(3, 1, dtype=torch.int64), -128, 127, torch.int8
        ),
        torch.full((3, 1), 0.03), torch.zeros(3, 1, dtype=torch.int64), -128, 127, torch.int8,
        torch.float32,
    ),
    "range of the input": lambda x: q.choose_qparams(x, -128, 127, 1e-6, torch.int8),
}  # fmt: skip


@pytest.mark.parametrize("function", CASES.values(), ids=list(CASES))
def test_operators(check: Any, function: Any):
    check(function, torch.randn(3, 4))


class Dynamic(nn.Module):
    """A layer whose input is quantized as it comes."""

    def __init__(self, quantized: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.quantized = quantized
        self.register_buffer("codes", torch.randint(-127, 128, (24, 64), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(24) * 0.01 + 0.01)
        self.register_buffer("zero", torch.zeros(24, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = _by_channel(self.codes, self.scale, self.zero, -127, 127)
        return nn.functional.linear(self.quantized(x), weight)


def _as_a_whole(choose: Any, low: int, high: int, dtype: torch.dtype) -> Callable[..., Any]:
    def quantized(x: torch.Tensor) -> torch.Tensor:
        found = choose(x, low, high, 1e-6, dtype)
        codes = q.quantize_per_tensor.tensor(x, *found, low, high, dtype)
        return q.dequantize_per_tensor.tensor(codes, *found, low, high, dtype)

    return quantized


def _by_token(choose: Any) -> Callable[..., Any]:
    def quantized(x: torch.Tensor) -> torch.Tensor:
        scale, zero = choose(x, torch.int8)
        scale, zero = scale.float(), zero.long()
        codes = q.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
        return q.dequantize_per_token(codes, scale, zero, -128, 127, torch.int8, torch.float32)

    return quantized


DYNAMIC = {
    "bytes": _as_a_whole(q.choose_qparams.tensor, 0, 255, torch.uint8),
    "bytes with sign": _as_a_whole(q.choose_qparams.tensor, -128, 127, torch.int8),
    "symmetric": _as_a_whole(q.choose_qparams_symmetric.tensor, -127, 127, torch.int8),
    "symmetric bytes": _as_a_whole(q.choose_qparams_symmetric.tensor, 0, 255, torch.uint8),
    "tokens": _by_token(q.choose_qparams_per_token_asymmetric),
    "symmetric tokens": _by_token(q.choose_qparams_per_token),
}


@pytest.mark.parametrize("quantized", DYNAMIC.values(), ids=list(DYNAMIC))
def test_dynamic_quantization_multiplies_bytes(check: Any, quantized: Callable[..., Any]):
    model, x = Dynamic(quantized), torch.randn(2, 7, 64) + 0.5
    # A code that torch rounds otherwise, since it multiplies by the inverse of the scale.
    module = check(model, x, atol=0.02)
    (wanted,) = run(module, x.numpy())
    run_passes(module, pipeline())
    (got,) = Native(module.clone()).run([x.numpy()])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    run_passes(module, lowering())
    assert type_of(first(module, MatmulOp).result).dtype == np.int32


def test_zero_points_that_are_no_codes_are_refused():
    model = Codes(_by_channel, -128, 127, 24)
    model.zero[0] = 300  # pyright: ignore[reportIndexIssue]
    with pytest.raises(MlcError, match="zero points from"):
        load_torch(model, (torch.randn(1, 64),))

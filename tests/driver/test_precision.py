"""``mlc.compile(…, precision=…)``: what is computed, and what is told about it."""

from __future__ import annotations

from typing import Any

import mlc
import numpy as np
import onnx
import pytest
from mlc.codegen.cpu.target import host
from mlc.driver.targets import NativeTarget, target_named
from mlc.ir.errors import TargetError
from small_models import onnx_model

WEIGHT = np.random.default_rng(1).standard_normal((64, 40)).astype(np.float32)


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 64)).astype(np.float32)


def model(**options: Any) -> mlc.Model:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    product = onnx_model([node], {"x": ["N", 64]}, {"y": ["N", 40]}, {"w": WEIGHT})
    return mlc.compile(product, cache=False, **options)


def test_bf16_halves_weights_and_is_near():
    exact, rounded = model(), model(precision="bf16")
    x = rows(9)
    wanted, got = exact(x), rounded(x)
    error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    if not host().dot2:
        assert rounded.report["precision"]["used"] == "f32"
        return
    assert rounded.report["precision"] == {"asked": "bf16", "used": "bf16"}
    assert 1e-5 < error < 1e-2
    assert rounded.weight_bytes < 0.6 * exact.weight_bytes


def test_a_cpu_without_instructions_says_why_it_stays_in_f32():
    rounded = model(precision="bf16", target="cpu:x86-64-v3")
    told = rounded.report["precision"]
    assert told["used"] == "f32"
    assert "x86-64-v3" in told["why"]
    x = rows(3)
    np.testing.assert_allclose(rounded(x), model()(x), rtol=1e-5, atol=1e-5)


def test_unknown_precisions_are_refused():
    with pytest.raises(TargetError, match="unknown precision 'f8': it is one of f32, bf16, f16"):
        model(precision="f8")


def test_the_target_knows_what_was_asked_for():
    target = target_named("cpu:x86-64-v4", precision="bf16")
    assert isinstance(target, NativeTarget)
    assert not target.facts.narrow
    assert target.rounding()["asked"] == "bf16"

"""What interprets kernels rounds as a GPU does, and notices what no kernel may do."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from interpreted import Interpreted, Memory

pytestmark = pytest.mark.interpreted

BF16 = np.dtype(ml_dtypes.bfloat16)
DOUBLE = """
@triton.jit
def double(x, y, n):
    i = tl.arange(0, 64)
    tl.store(y + i, tl.load(x + i{load}) * 2{store})
"""
MASK = ", mask=i < n"
PRODUCT = """
@triton.jit
def product(x, y, z):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    total = tl.dot(tl.load(x + i * 16 + j), tl.load(y + i * 16 + j){precision})
    tl.store(z + i * 16 + j, total)
"""
TMA = """
@triton.jit
def copied(x, y, t):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    tl.store(y + i * 16 + j, t.load([0, 8]))
"""


def doubled(count: int, load: str = MASK, store: str = MASK) -> np.ndarray:
    """Twice 0, 1, 2 and so on, by a kernel of 64 lanes."""
    memory = Memory()
    kernels = Interpreted(DOUBLE.format(load=load, store=store), memory)
    x, y = np.arange(count, dtype=np.float32), np.full(count, 7, np.float32)
    values = [memory.add(x), memory.add(y), count]
    kernels.launch("double", (1, 1, 1), ["*fp32", "*fp32", "i32"], values)
    return y


def product(x: np.ndarray, y: np.ndarray, type: str, precision: str = "") -> np.ndarray:
    memory, z = Memory(), np.zeros((16, 16), np.float32)
    values = [memory.add(a) for a in (x, y, z)]
    kernels = Interpreted(PRODUCT.format(precision=precision), memory)
    kernels.launch("product", (1, 1, 1), [type, type, "*fp32"], values)
    return z


def factors() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((16, 16)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize("count", [1, 37, 64])
def test_lanes_that_are_left_out_touch_nothing(count: int):
    np.testing.assert_array_equal(doubled(count), 2 * np.arange(count))


@pytest.mark.parametrize("lost", ["load", "store"])
def test_a_lost_mask_is_noticed(lost: str):
    with pytest.raises(AssertionError, match="27 of 64 lanes are out of bounds"):
        doubled(37, **{lost: ""})


def test_factors_of_tf32_have_ten_bits():
    x, y = factors()
    exact = x.astype(np.float64) @ y.astype(np.float64)
    full = np.abs(product(x, y, "*fp32", ', input_precision="ieee"') - exact).max()
    short = np.abs(product(x, y, "*fp32", ', input_precision="tf32"') - exact).max()
    assert full < 1e-5
    assert 2e-4 < short < 2e-2


def test_factors_of_bf16_are_multiplied_exactly_and_summed_in_f32():
    x, y = (a.astype(BF16) for a in factors())
    exact = x.astype(np.float64) @ y.astype(np.float64)
    np.testing.assert_allclose(product(x, y, "*bf16"), exact, 0, 1e-5)


def test_tiles_end_with_zeros_where_the_tensor_ends():
    memory = Memory()
    x, y = np.ones((16, 12), np.float32), np.full((16, 16), 7, np.float32)
    values = [memory.add(x), memory.add(y), (x.ctypes.data, [16, 12], [12, 1])]
    types = ["*fp32", "*fp32", "tensordesc<fp32[16, 16]>"]
    Interpreted(TMA, memory).launch("copied", (1, 1, 1), types, values)
    assert (y[:, :4] == 1).all()
    assert (y[:, 4:] == 0).all()

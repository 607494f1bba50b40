"""Whole models: they are imported within seconds, and small ones give what ONNX Runtime gives.

Needs the folder of models that the benchmarks are run on, named by the variable MLC_ZOO.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlc.frontends.onnx import load_onnx
from mlc.ir.interpreter import interpret
from mlc.ir.module import input_names, main_function
from mlc.ir.types import TensorType, type_of

ort = pytest.importorskip("onnxruntime")

FOLDER = os.environ.get("MLC_ZOO", "")
MODELS = sorted(Path(FOLDER).glob("*.onnx")) if FOLDER else []
SMALL = ("minilm_l6_b1", "mobilenet_v2_b1", "efficientnet_b0_b1", "swin_tiny_b1", "t5_small_enc_b1")
SECONDS = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER, reason="MLC_ZOO names no folder of models"),
]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_models_are_imported_quickly(path: Path):
    start = time.perf_counter()
    module = load_onnx(path)
    assert time.perf_counter() - start < SECONDS
    module.verify()
    graph = onnx.load(path, load_external_data=False).graph
    outputs = main_function(module).function_type.outputs.data
    for declared, got in zip(graph.output, outputs, strict=True):
        assert isinstance(got, TensorType)
        assert got.shape == tuple(d.dim_value for d in declared.type.tensor_type.shape.dim)


@pytest.mark.parametrize("name", SMALL)
def test_values_agree_with_onnx_runtime(name: str):
    path = Path(FOLDER) / f"{name}.onnx"
    module = load_onnx(path)
    arguments = main_function(module).body.block.args
    arrays = [_values(n, type_of(a)) for n, a in zip(input_names(module), arguments, strict=True)]
    feed = dict(zip(input_names(module), arrays, strict=True))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for got, wanted in zip(interpret(module, arrays), session.run(None, feed), strict=True):
        assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


def _values(name: str, type: TensorType) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = [d for d in type.shape if isinstance(d, int)]
    if type.dtype == np.float32:
        return rng.standard_normal(shape).astype(np.float32)
    limit = 2 if "type" in name or "mask" in name else 1000
    return np.ones(shape, np.int64) if "mask" in name else rng.integers(0, limit, shape)

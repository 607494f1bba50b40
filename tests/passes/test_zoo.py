"""Whole models: what is recognised in each, how long it takes, and that the values stay.

Needs the folder of models that the benchmarks are run on, named by the variable MLC_ZOO.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from graphs import counts, samples
from mlc.frontends.onnx import load_onnx
from mlc.ir.interpreter import interpret
from mlc.passes.manager import difference, run_passes
from mlc.passes.pipeline import pipeline
from xdsl.dialects.builtin import ModuleOp

ZOO = Path(os.environ.get("MLC_ZOO", ""))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("MLC_ZOO"), reason="MLC_ZOO names no folder of models"),
]

WANTED = {
    "bert_base": {"attention": 12, "layer_norm": 25, "gelu": 12, "matmul": 72, "mul": 0},
    "convnext_tiny": {"layer_norm": 23, "gelu": 18, "conv": 22, "mul": 0, "transpose": 1},
    "efficientnet_b0": {"silu": 49, "conv": 81, "mul": 16, "transpose": 1},
    "gpt2_decode": {"attention": 12, "layer_norm": 25, "gelu": 12, "mul": 0, "isnan": 0},
    "gpt2_prefill": {"attention": 12, "layer_norm": 25, "gelu": 12, "mul": 0, "isnan": 0},
    "llama_decode": {"attention": 12, "rms_norm": 25, "silu": 12, "rotary": 24, "broadcast": 0},
    "minilm_l6": {"attention": 6, "layer_norm": 13, "gelu": 6, "mul": 0},
    "mobilenet_v2": {"conv": 52, "mul": 0, "transpose": 1},
    "resnet50": {"conv": 53, "add": 70, "mul": 0, "transpose": 1},
    "segformer_b0": {"attention": 8, "layer_norm": 30, "gelu": 8, "mul": 0},
    "swin_tiny": {"attention": 12, "layer_norm": 29, "gelu": 12, "mul": 0},
    "t5_small_enc": {"attention": 6, "rms_norm": 13, "mul": 0},
    "vit_base": {"attention": 12, "layer_norm": 25, "gelu": 12, "mul": 0},
    "whisper_tiny_enc": {"attention": 4, "layer_norm": 9, "gelu": 6, "mul": 0},
}


def load(name: str) -> ModuleOp:
    path = ZOO / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not in the zoo")
    return load_onnx(path)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", WANTED)
def test_what_is_recognized(name: str, batch: int):
    module = load(f"{name}_b{batch}")
    start = time.process_time()
    run_passes(module, pipeline())
    assert time.process_time() - start < 2
    got = counts(module)
    assert {op: got[op] for op in WANTED[name]} == WANTED[name]


@pytest.mark.parametrize("name", WANTED)
def test_values_stay(name: str):
    module = load(f"{name}_b1")
    inputs = samples(module)
    before = interpret(module, inputs)
    run_passes(module, pipeline())
    after = interpret(module, inputs)
    for wanted, got in zip(before, after, strict=True):
        assert np.isfinite(got).all()
        assert difference(wanted, got) < 1e-4

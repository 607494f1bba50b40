"""Generated source through Triton and ptxas to cubins, without a GPU; nothing is run."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import build as module_of
from mlc.codegen.cuda.build import build
from mlc.codegen.cuda.compile import Compiler
from mlc.codegen.cuda.target import target_for
from mlc.ir.ops.elementwise import AddOp, GeluOp
from mlc.ir.ops.norm import LayerNormOp, SoftmaxOp
from mlc.ir.ops.pool import MaxPoolOp
from mlc.ir.ops.reduce import ReduceMeanOp
from mlc.ir.ops.shape import TransposeOp

WINDOW = {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
KERNELS = {
    "pointwise": lambda g, x: g(GeluOp, g(AddOp, x, x)),
    "transpose": lambda g, x: g(TransposeOp, x, perm=(0, 2, 1, 3)),
    "softmax": lambda g, x: g(SoftmaxOp, x, axis=3),
    "layer_norm": lambda g, x: g(LayerNormOp, x, axis=3),
    "max_pool": lambda g, x: g(MaxPoolOp, x, **WINDOW),
    "mean": lambda g, x: g(ReduceMeanOp, x, axes=(1, 2), keepdims=False),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["f32", "f16"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile(name: str, dtype: type):
    target = target_for("cuda:sm_80,sm_90")
    module = module_of(KERNELS[name], (2, 9, 9, 48), dtype=np.dtype(dtype))
    made = build(module, target)
    compiler = Compiler(made.source)
    for code in made.codes:
        for architecture in target.architectures:
            binary = compiler.compile(code, architecture)
            assert binary.cubin[:4] == b"\x7fELF"
            assert binary.entry == code.name

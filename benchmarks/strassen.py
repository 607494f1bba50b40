"""Strassen's product against the plain sum, by layers of transformers and convolutional networks.

    python benchmarks/strassen.py [--threads N]

A layer is timed as a chain of several with weights of their own, so that these come from memory as
they do in a model. Prints microseconds a layer, how often it is faster than the plain sum, what was
estimated, and the difference of the results: medians of alternating runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import mlc
import numpy as np
from mlc.cli.timing import interleave
from mlc.codegen.cpu.target import host
from mlc.codegen.cpu.templates import strassen
from mlc.codegen.cpu.templates.blocking import Problem
from mlc.ir.module import model_module
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.elementwise import ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.types import tensor
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block

# Rows, and the widths of a chain.
CHAINS = (
    *((128, (768, 768, 768, 768, 768)), (128, (768, 3072, 768)), (197, (768, 3072, 768))),
    *((1500, (384, 1536, 384)), (784, (192, 768, 192)), (3136, (96, 384, 96))),
    *((128, (384, 1536, 384)), (196, (256, 1024, 256)), (49, (768, 3072, 768))),
)


def chain(rows: int, widths: Sequence[int]) -> ModuleOp:
    """Products and ReLUs, one after the other."""
    block = Block(arg_types=[tensor((rows, widths[0]), np.float32)])
    value, rng = block.args[0], np.random.default_rng(0)
    for depth, columns in pairwise(widths):
        w = rng.standard_normal((depth, columns)) * np.sqrt(2 / depth)
        weights = ConstantOp.of(w.astype(np.float32))
        product = MatmulOp(value, weights.results[0])
        relu = ReluOp(product.results[0])
        block.add_ops([weights, product, relu])
        value = relu.result
    block.add_op(ReturnOp(operands=[[value]]))
    return model_module(block, ["x"], ["y"])


def forced(module: ModuleOp, times: float, threads: int) -> mlc.Model:
    """The module with the algorithm wherever it is estimated to be ``times`` as fast."""
    gain, strassen.gain = strassen.gain, lambda problem, target: times
    try:
        return mlc.compile(module, threads=threads, cache=False)
    finally:
        strassen.gain = gain


def show(rows: int, widths: Sequence[int], threads: int) -> None:
    x = np.random.default_rng(1).standard_normal((rows, widths[0])).astype(np.float32)
    models = {t: forced(chain(rows, widths), t, threads) for t in (1.0, 2.0)}
    samples = interleave({str(t): partial(model, x) for t, model in models.items()}, 3)
    plain, halves = samples["1.0"], samples["2.0"]
    wanted, got = (np.asarray(model(x)) for model in models.values())
    error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    layers, (depth, columns) = len(widths) - 1, widths[:2]
    estimate = strassen.gain(Problem(1, -(-rows // 2), 7, depth // 2, columns // 2), host())
    print(
        f"{rows:5} rows {depth:5} x {columns:<5} plain {plain.median / layers * 1e6:6.0f} us"
        f"   halves {halves.median / layers * 1e6:6.0f} us {plain.ratio_to(halves):5.2f}x"
        f"   estimate {estimate:5.2f}x   difference {error:.0e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Strassen's product against the plain sum.")
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    for rows, widths in CHAINS:
        show(rows, widths, threads)


if __name__ == "__main__":
    main()

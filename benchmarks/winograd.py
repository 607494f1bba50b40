"""Winograd's convolution against the direct sum, by layers of ResNet-50 and on a whole model.

    python benchmarks/winograd.py [MODEL.onnx] [--threads N]

A layer is timed as a chain of several with filters of their own, so that these come from memory as
they do in a model. Prints microseconds a layer and how often it is faster than the direct sum:
medians of alternating runs. For a model: milliseconds with ``exact=True`` and without, and the
difference of the results relative to their norm.
"""

from __future__ import annotations

import argparse
from functools import partial

import mlc
import numpy as np
from mlc.cli.timing import interleave
from mlc.codegen.cpu import schedule
from mlc.codegen.cpu.convolution import Choice
from mlc.ir.module import model_module
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import ReluOp
from mlc.ir.types import tensor
from mlc.runtime import Model
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block

LAYERS = ((56, 64, 3), (28, 128, 4), (14, 256, 5), (7, 512, 3))
SAME = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}


def chain(side: int, channels: int, length: int) -> ModuleOp:
    """Convolutions and ReLUs, one after the other."""
    block = Block(arg_types=[tensor((1, side, side, channels), np.float32)])
    value, rng = block.args[0], np.random.default_rng(0)
    scale = np.sqrt(2 / 9 / channels)
    for _ in range(length):
        w = rng.standard_normal((3, 3, channels, channels)) * scale
        weights = ConstantOp.of(w.astype(np.float32))
        conv = ConvOp(value, weights.results[0], **SAME)
        relu = ReluOp(conv.result)
        block.add_ops([weights, conv, relu])
        value = relu.result
    block.add_op(ReturnOp(operands=[[value]]))
    return model_module(block, ["x"], ["y"])


def forced(results: int, module: ModuleOp, threads: int) -> Model:
    """The module with one algorithm for all its convolutions."""
    choose, schedule.choose = schedule.choose, lambda conv, target: Choice(results)
    try:
        return mlc.compile(module, threads=threads, cache=False)
    finally:
        schedule.choose = choose


def show_layer(side: int, channels: int, length: int, threads: int) -> None:
    x = np.random.default_rng(1).standard_normal((1, side, side, channels)).astype(np.float32)
    models = {m: forced(m, chain(side, channels, length), threads) for m in (0, 2, 4)}
    samples = interleave({str(m): partial(model, x) for m, model in models.items()}, 4)
    direct = samples["0"]
    wanted = models[0](x)
    print(
        f"{side:3}x{side:<3} x{channels:<4} direct {direct.median / length * 1e6:6.0f} us", end=""
    )
    for m in (2, 4):
        faster = direct.ratio_to(samples[str(m)])
        error = relative(models[m](x), wanted)
        print(f"   F({m},3) {samples[str(m)].median / length * 1e6:6.0f} us {faster:5.2f}x", end="")
        print(f" {error:.0e}", end="")
    print()


def show_model(path: str, threads: int) -> None:
    models = {e: mlc.compile(path, threads=threads, exact=e) for e in (True, False)}
    spec = models[True].inputs[0]
    shape = [d if isinstance(d, int) else 1 for d in spec.shape]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    samples = interleave({str(e): partial(model, x) for e, model in models.items()}, 10)
    exact, chosen = samples["True"], samples["False"]
    error = relative(models[False](x), models[True](x))
    print(f"{path}: exact {exact.median * 1e3:.1f} ms, else {chosen.median * 1e3:.1f} ms, ", end="")
    print(f"{exact.ratio_to(chosen):.2f}x, difference {error:.1e}")


def relative(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description="Winograd against the direct sum.")
    parser.add_argument("model", nargs="?", help="an ONNX file of one input and one output")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    for layer in LAYERS:
        show_layer(*layer, chosen.threads)
    if chosen.model:
        show_model(chosen.model, chosen.threads)


if __name__ == "__main__":
    main()

"""Random ops whose sizes are 0, 1, primes, and around the borders of register tiles.

Many independent ops make one model, so that all are compiled at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from graphs import Graph
from mlc.codegen.choice import Chooser
from mlc.codegen.cpu.templates.frame import Option
from mlc.ir.op import GraphOp
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.conv import ConvOp, ConvTransposeOp
from mlc.ir.ops.elementwise import AddOp, MaxOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.norm import LayerNormOp, LogSoftmaxOp, RmsNormOp, SoftmaxOp
from mlc.ir.ops.reduce import ReduceMaxOp, ReduceMeanOp, ReduceMinOp, ReduceSumOp
from mlc.ir.symbols import known_shape
from mlc.ir.types import DTYPES, I32, tensor, type_of
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

SEED = int(os.environ.get("MLC_SEED", "0"))
UI8, I8 = DTYPES["ui8"], DTYPES["i8"]
# Around tiles of 4 to 14 rows and of 1 to 8 vectors of 4 to 16 lanes.
_ROWS = (0, 1, 2, 3, 5, 6, 7, 11, 12, 13, 14, 15, 17, 29, 41)
_COLUMNS = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97, 127, 129)


@dataclass
class Drawn:
    """A model that grows by random ops.

    Attributes:
        rng: Decides all.
        arrays: A value for each input.
        labels: What each result is.
        results: The results.
    """

    rng: np.random.Generator
    graph: Graph = field(default_factory=Graph)
    arrays: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    results: list[SSAValue] = field(default_factory=list)

    def module(self) -> ModuleOp:
        """The model."""
        return self.graph.module(*self.results)

    def size(self, *choices: int) -> int:
        """One of some sizes."""
        return int(self.rng.choice(choices))

    def rows(self) -> int:
        return self.size(*_ROWS)

    def columns(self) -> int:
        return self.size(*_COLUMNS)

    def maybe(self) -> bool:
        return bool(self.rng.integers(2))

    def values(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            return self.rng.integers(info.min, info.max + 1, shape).astype(dtype)
        return self.rng.standard_normal(shape).astype(dtype)

    def input(self, shape: tuple[int, ...], dtype: Any = np.float32) -> SSAValue:
        self.arrays.append(self.values(shape, np.dtype(dtype)))
        block = self.graph.block
        return block.insert_arg(tensor(shape, np.dtype(dtype)), len(block.args))

    def weight(self, shape: tuple[int, ...], constant: bool, dtype: Any = np.float32) -> Any:
        if constant:
            return self.values(shape, np.dtype(dtype))
        return self.input(shape, dtype)

    def add(self, kind: type[GraphOp], *operands: Any, **params: Any) -> SSAValue:
        shapes = [o.shape if isinstance(o, np.ndarray) else o.type for o in operands]
        self.labels.append(f"{kind.name} {' '.join(map(str, shapes))} {params}")
        self.results.append(self.graph(kind, *operands, **params))
        return self.results[-1]

    def finish(self) -> None:
        """What may become the last op's epilogue: a bias, and a residual."""
        if self.maybe():
            shape = known_shape(type_of(self.results[-1]).shape)
            bias = self.values(shape[-1:], np.dtype(np.float32))
            y = self.graph(AddOp, self.results.pop(), bias)
            y = self.graph(MaxOp, y, self.input(shape)) if self.maybe() else y
            self.results.append(y)


def matmul(d: Drawn) -> None:
    m, n, k = d.rows(), d.columns(), d.size(0, 1, 2, 3, 7, 16, 33, 67)
    batch = (d.size(1, 2, 3),) if d.maybe() else ()
    shared = d.maybe()
    x = d.input((*batch, m, k))
    d.add(MatmulOp, x, d.weight((k, n) if shared else (*batch, k, n), d.maybe()))
    d.finish()


def _window(d: Drawn, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """A kernel, sides that it fits, and how it moves."""
    kernel = tuple(d.size(1, 1, 2, 3, 3, 4) for _ in range(rank))
    strides = tuple(d.size(1, 1, 2, 3) for _ in range(rank))
    dilations = tuple(d.size(1, 1, 2, 3) for _ in range(rank))
    pads = tuple(d.size(0, 0, 1, 1, 2, 3) for _ in range(2 * rank))
    sides = []
    for axis in range(rank):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        least = max(0, reach - pads[axis] - pads[axis + rank])
        sides.append(least + d.size(0, 0, 1, 2, 5, 7, 13) // rank)
    params = {"strides": strides, "dilations": dilations, "pads": pads}
    return kernel, tuple(sides), params


def conv(d: Drawn) -> None:
    kernel, sides, params = _window(d, d.size(1, 2, 2, 3))
    groups = d.size(1, 1, 1, 2, 3)
    channels, filters = d.size(1, 2, 3, 5, 16) * groups, d.size(1, 2, 7, 15, 16, 17, 33) * groups
    x = d.input((d.size(0, 1, 1, 2), *sides, channels))
    w = d.weight((*kernel, channels // groups, filters), d.maybe())
    d.add(ConvOp, x, w, groups=groups, **params)
    d.finish()


def conv_transpose(d: Drawn) -> None:
    rank = d.size(1, 2, 2, 3)
    kernel, sides, params = _window(d, rank)
    groups = d.size(1, 1, 2)
    reach = [(k - 1) * e + 1 for k, e in zip(kernel, params["dilations"], strict=True)]
    params["pads"] = tuple(min(p, (reach[n % rank] - 1) // 2) for n, p in enumerate(params["pads"]))
    extra = tuple(d.size(0, 0, 1) if s > 1 else 0 for s in params["strides"])
    channels, filters = d.size(1, 2, 5, 16) * groups, d.size(1, 3, 16, 17)
    x = d.input((d.size(1, 2), *(max(1, s) for s in sides), channels))
    w = d.weight((*kernel, channels, filters), d.maybe())
    d.add(ConvTransposeOp, x, w, groups=groups, output_padding=extra, **params)


def winograd(d: Drawn) -> None:
    stride = d.size(1, 1, 2)
    sides = [d.size(3, 4, 5, 7, 8, 9, 13) for _ in range(2)]
    channels, filters = d.size(1, 3, 15, 16, 17, 40), d.size(1, 7, 16, 17, 33, 64, 65)
    x = d.input((d.size(1, 1, 2, 3), *sides, channels))
    pads = tuple(d.size(0, 1, 1) for _ in range(4))
    w = d.values((3, 3, channels, filters), np.dtype(np.float32))
    d.add(ConvOp, x, w, strides=(stride, stride), dilations=(1, 1), pads=pads)
    d.finish()


def depthwise(d: Drawn) -> None:
    kernel, sides, params = _window(d, d.size(1, 2, 2, 3))
    channels = d.size(2, 3, 8, 15, 16, 17, 33, 64, 130)
    x = d.input((d.size(0, 1, 1, 2), *sides, channels))
    d.add(ConvOp, x, d.weight((*kernel, 1, channels), d.maybe()), groups=channels, **params)
    d.finish()


def attention(d: Drawn) -> None:
    batch, groups, share = d.size(1, 2), d.size(1, 2), d.size(1, 2, 3)
    queries, keys = d.size(1, 2, 7, 15, 16, 17, 65), d.size(1, 2, 31, 125, 126, 127, 129)
    features, values = d.size(1, 5, 16, 17, 64), d.size(1, 7, 16, 33)
    heads = groups * share
    operands = [(batch, heads, queries, features), (batch, groups, keys, features)]
    operands += [(batch, groups, keys, values)]
    if d.maybe():
        operands.append((d.size(1, batch), d.size(1, heads), d.size(1, queries), keys))
    d.add(AttentionOp, *(d.input(o) for o in operands), scale=0.2, causal=d.maybe())


def row(d: Drawn) -> None:
    outer = tuple(d.size(1, 2, 3, 5) for _ in range(d.size(0, 1, 2)))
    shape = (*outer, d.rows(), max(1, d.columns()))
    kind = [SoftmaxOp, LogSoftmaxOp, LayerNormOp, RmsNormOp][d.size(0, 1, 2, 3)]
    axis = len(shape) - 1 if d.maybe() else d.size(*range(len(shape)))
    if kind in (LayerNormOp, RmsNormOp):
        axis = len(shape) - 1
        scale = d.values(shape[-1:], np.dtype(np.float32))
        d.add(kind, d.input(shape), scale, axis=axis, epsilon=1e-3)
        return
    d.add(kind, d.input(shape), axis=axis)


def reduction(d: Drawn) -> None:
    shape = tuple(d.size(1, 2, 3, 7, 16, 17, 33) for _ in range(d.size(1, 2, 3, 4)))
    axes = tuple(n for n in range(len(shape)) if d.maybe())
    kind = [ReduceSumOp, ReduceMeanOp, ReduceMaxOp, ReduceMinOp][d.size(0, 1, 2, 3)]
    d.add(kind, d.input(shape), axes=axes, keepdims=d.maybe())


def integer(d: Drawn) -> None:
    if d.maybe():
        m, n, k = d.rows(), d.columns(), d.size(1, 2, 3, 4, 5, 8, 31, 67)
        d.add(MatmulOp, d.input((m, k), UI8), d.values((k, n), I8), to=I32)
        return
    kernel, sides, params = _window(d, d.size(1, 2, 2))
    groups = d.size(1, 1, 2)
    channels, filters = d.size(1, 3, 4, 5, 16) * groups, d.size(1, 7, 16, 17, 33) * groups
    if d.size(0, 1, 2) == 0:
        groups = filters = channels = d.size(2, 16, 17, 33)
    x = d.input((d.size(1, 2), *sides, channels), UI8)
    d.add(
        ConvOp,
        x,
        d.values((*kernel, channels // groups, filters), I8),
        groups=groups,
        to=I32,
        **params,
    )


FAMILIES: dict[str, Callable[[Drawn], None]] = {
    function.__name__: function
    for function in (
        matmul, conv, conv_transpose, winograd, depthwise, attention, row, reduction, integer
    )
}  # fmt: skip


def drawn(family: str, seed: int, count: int) -> Drawn:
    """A model of ``count`` random ops of a family."""
    model = Drawn(np.random.default_rng([seed, sum(map(ord, family))]))
    for _ in range(count):
        FAMILIES[family](model)
    return model


def numbered(number: int) -> Chooser:
    """A chooser of each question's option of that number, counted around."""

    def choose(subject: object, name: str, options: Sequence[Option]) -> Option:
        return options[number % len(options)]

    return choose


def compare(
    model: Drawn, got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], where: str
) -> None:
    """Results against those of the interpreter."""
    problems = []
    for label, a, b in zip(model.labels, got, wanted, strict=True):
        largest = float(np.max(np.abs(b), initial=1.0)) if b.dtype.kind == "f" else 0.0
        if a.shape != b.shape or not np.allclose(a, b, 1e-4, 2e-5 * largest, equal_nan=True):
            problems.append(f"{label}: {a.shape} {b.shape} {np.abs(a - b).max(initial=0)}")
    assert not problems, "\n".join([where, *problems])

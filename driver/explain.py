"""What became of a model: every kernel launch with its work and its share of the time."""

from __future__ import annotations

import ast
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.dims import Dim, parse_dim, substitute
from ..ir.types import DTYPES, bit_width
from ..runtime import ArtifactError, DeviceError, Model, ModelError
from .roofline import shortest_seconds

if TYPE_CHECKING:
    from ..codegen.cpu.limits import Limits

_RUNS = 7
_CAREFUL = 3.0
_FREE = frozenset(["constant"])


@dataclass(frozen=True)
class Launch:
    """One kernel launch.

    Attributes:
        number: From 0, in the order of the run.
        kernel: The name of its code; launches may share it.
        algorithm: How it computes.
        why: The reason for that choice; may be empty.
        nodes: The nodes of the user's model that it computes.
        ops: The graph ops it computes.
        shapes: The types of its results, with the sizes of this run.
        bytes: What it reads and writes, each operand once.
        operations: Arithmetic operations.
        seconds: The time it takes; 0 when it was not measured.
        share: Of the time of all launches.
        weights: Those of the bytes that are weights.
        least: The seconds that the machine's limits allow at the least; 0 where those are unknown.
        bound: What it waits for at its limit: ``arithmetic`` or ``memory``.
        inside: The branches and loops around it, from the outermost. The time of a launch in a loop
            is that of all iterations, bytes and operations are those of one.
    """

    number: int
    kernel: str
    algorithm: str
    why: str
    nodes: tuple[str, ...]
    ops: tuple[str, ...]
    shapes: tuple[str, ...]
    bytes: int
    operations: int
    seconds: float = 0.0
    share: float = 0.0
    weights: int = 0
    least: float = 0.0
    bound: str = ""
    inside: tuple[str, ...] = ()

    @property
    def repeats(self) -> bool:
        """Whether it stands in a loop."""
        return any(name.startswith("loop ") for name in self.inside)

    @property
    def rate(self) -> float:
        """Operations a second; 0 when the time of one iteration was not measured."""
        return self.operations / self.seconds if self.seconds and not self.repeats else 0.0

    @property
    def flow(self) -> float:
        """Bytes a second; 0 when the time of one iteration was not measured."""
        return self.bytes / self.seconds if self.seconds and not self.repeats else 0.0

    @property
    def roofline(self) -> float:
        """The share of what the machine can do; 0 when it was not measured."""
        return self.least / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Node:
    """One node of the user's model.

    Attributes:
        name: The node's.
        ops: The graph ops it was imported as.
        launches: The numbers of the launches that compute it; empty when nothing of it is left to
            compute: it was computed while compiling, or only renames or forwards data.
    """

    name: str
    ops: tuple[str, ...]
    launches: tuple[int, ...]


@dataclass(frozen=True)
class Explanation:
    """What became of a model.

    Attributes:
        model: Its name.
        target: What it was compiled for.
        inputs: Names and types, with the sizes of this run.
        launches: In the order of the run.
        nodes: In the order of the user's model.
        weights: Bytes of weights in the artifact.
        expanded: Bytes of those that are made of them when it is loaded.
        seconds: One run, the median of several, or the fastest of many where the machine's limits
            are known; 0 when it was not measured.
        compiling: Seconds of each stage of the compilation.
        limits: What the machine can do at most, where launches were held against it.
    """

    model: str
    target: str
    inputs: dict[str, str]
    launches: list[Launch]
    nodes: list[Node]
    weights: int
    expanded: int
    seconds: float = 0.0
    compiling: dict[str, float] = field(default_factory=dict)
    limits: Limits | None = None

    @property
    def roofline(self) -> float:
        """The share of what the machine can do; 0 when it was not measured."""
        spent = sum(launch.seconds for launch in self.launches)
        return sum(launch.least for launch in self.launches) / spent if spent else 0.0


def explain(
    model: Model, feeds: Mapping[str, np.ndarray], limits: Limits | None = None
) -> Explanation:
    """Explains a compiled model, running it on ``feeds`` where it runs on this machine.

    With the machine's ``limits`` launches are timed with care, by the fastest of many runs, and
    held against them.

    Raises:
        ModelError: The model has no native code, or does not take ``feeds``.
    """
    if not model.manifest:
        raise ModelError("only a model compiled to native code can be explained")
    if "cuda" in model.manifest:
        limits = None  # they are those of this machine's CPU
    seconds, by_site = _measured(model, feeds, limits)
    if not seconds:
        limits = None
    values = _sizes(model, feeds)
    launches = [
        _launch(number, site, values, by_site[number], sum(by_site))
        for number, site in enumerate(model.manifest["sites"])
    ]
    if limits is not None:
        held = model.weight_bytes + model.expanded_bytes
        launches = [_held_against(limits, launch, held) for launch in launches]
    return Explanation(
        model.name,
        str(model.manifest["target"].get("name", "")),
        {name: f"{array.dtype.name} {list(array.shape)}" for name, array in feeds.items()},
        launches,
        _nodes(model.report.get("nodes", {}), launches),
        model.weight_bytes,
        model.expanded_bytes,
        seconds,
        dict(model.report.get("seconds", {})),
        limits,
    )


def _held_against(limits: Limits, launch: Launch, weights: int) -> Launch:
    if launch.repeats:
        return launch
    others = launch.bytes - launch.weights
    least, bound = shortest_seconds(
        launch.algorithm, launch.operations, launch.weights, others, weights, limits
    )
    return replace(launch, least=least, bound=bound)


def _measured(
    model: Model, feeds: Mapping[str, np.ndarray], limits: Limits | None
) -> tuple[float, list[float]]:
    """Seconds of a run, and of each launch in it."""
    try:
        model.run(feeds)
    except (ArtifactError, DeviceError):  # for another machine
        return 0.0, [0.0] * len(model.manifest["sites"])
    times, cycles = [], []
    end = time.perf_counter() + (_CAREFUL if limits else 0)
    while len(times) < _RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        model.run(feeds)
        times.append(time.perf_counter() - start)
        cycles.append(model.profile(feeds))
    if limits:
        return min(times), [min(c) / limits.ticks for c in zip(*cycles, strict=True)]
    total = statistics.median(times)
    by_site = [statistics.median(c) for c in zip(*cycles, strict=True)]
    return total, [total * c / (sum(by_site) or 1) for c in by_site]


def _launch(
    number: int, site: Mapping[str, Any], values: Mapping[str, Dim], seconds: float, total: float
) -> Launch:
    inputs = [type_in(t, values) for t in site.get("inputs", ())]
    outputs = [type_in(t, values) for t in site.get("outputs", ())]
    return Launch(
        number,
        site["kernel"],
        site.get("algorithm", ""),
        site.get("why", ""),
        tuple(site.get("nodes", ())),
        tuple(n for op in site.get("ops", ()) if (n := op.removeprefix("mlc.")) not in _FREE),
        tuple(f"{dtype}{list(shape)}" for shape, dtype in outputs),
        sum(bytes_of(shape, dtype) for shape, dtype in inputs + outputs),
        _known(str(site.get("operations", "0")), values),
        seconds,
        seconds / (total or 1),
        sum(bytes_of(*inputs[n]) for n in site.get("weights", ())),
        inside=tuple(site.get("inside", ())),
    )


def _nodes(origins: Mapping[str, list[str]], launches: list[Launch]) -> list[Node]:
    where: dict[str, list[int]] = {name: [] for name in origins}
    for launch in launches:
        for name in launch.nodes:
            where.setdefault(name, []).append(launch.number)
    return [Node(n, tuple(origins.get(n, ())), tuple(found)) for n, found in where.items()]


def _sizes(model: Model, feeds: Mapping[str, np.ndarray]) -> dict[str, Dim]:
    """The values of the symbols that are a dimension of an input on their own."""
    return {
        dim: size
        for spec in model.inputs
        for dim, size in zip(spec.shape, feeds[spec.name].shape, strict=True)
        if isinstance(dim, str)
    }


def type_in(text: str, values: Mapping[str, Dim]) -> tuple[tuple[int, ...], str]:
    """The sizes and the dtype of ``[N, 4] f32``, as launches in a manifest have it."""
    shape, _, dtype = text.rpartition(" ")
    tree = ast.parse(shape, mode="eval").body
    dims = tree.elts if isinstance(tree, ast.List) else []
    texts = [str(d.value) if isinstance(d, ast.Constant) else ast.unparse(d) for d in dims]
    return tuple(_known(t, values) for t in texts), dtype


def _known(text: str, values: Mapping[str, Dim]) -> int:
    """The value of a dimension; 0 where only the run knows it."""
    size = substitute(parse_dim(text), values)
    return size if isinstance(size, int) else 0


def bytes_of(shape: tuple[int, ...], dtype: str) -> int:
    """Of an array as a kernel reads it."""
    bits = 8 if dtype == "i1" else bit_width(DTYPES[dtype])
    return int(np.prod(shape, dtype=np.int64)) * bits // 8

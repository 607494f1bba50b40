"""How much faster a model is whose weights were pruned, and how much smaller.

    python benchmarks/sparse.py bert.onnx [--codes int8.onnx] [--threads 1] [--peer] [pattern...]

A pattern is ``90`` or ``90:4x1``: percent of zeros, and the blocks that are pruned by their mean
magnitude: columns x depth. All right factors of matrix products, and the kernels of all
convolutions but the first, are pruned in the ONNX file, also where they are codes; its zeros are
all that the compiler is told. Patterns that begin with ``i`` prune the model of codes. Prints
medians of alternating runs; the ratios are to our own dense model, to ONNX Runtime's, and to the
faster of two engines on the model of codes. What was compiled once is found in the cache.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import mlc
import numpy as np
import onnx
from onnx import numpy_helper
from peers import Run, feeds_of, medians, peer

PATTERNS = ["80", "90", "95", "90:4x1"]
SMALLEST = 4096
DECODERS = ("DequantizeLinear",)
INTEGER_PEERS = ("onnxruntime", "openvino")


def pruned(array: np.ndarray, zeros: float, block: tuple[int, int], filters: int) -> np.ndarray:
    """``array`` without the blocks of least magnitude; ``filters`` is the axis of its columns.

    Neighbours of the depth are those of the last axis but the columns, the channels of a kernel.
    """
    axes = [0, *range(2, array.ndim), 1] if filters == 0 else [filters, *range(filters)]
    rows = array.transpose(axes).reshape(array.shape[filters], -1)
    height, deep = block
    counts = [-(-size // step) for size, step in zip(rows.shape, block, strict=True)]
    wide = np.zeros((counts[0] * height, counts[1] * deep), np.float32)
    wide[: rows.shape[0], : rows.shape[1]] = np.abs(rows.astype(np.float32))
    scores = wide.reshape(counts[0], height, counts[1], deep).mean(axis=(1, 3))
    kept = np.kron(scores > np.quantile(scores, zeros), np.ones(block, bool))
    mask = kept[: rows.shape[0], : rows.shape[1]]
    shape = [array.shape[a] for a in axes]
    return (rows * mask).reshape(shape).transpose(np.argsort(axes)).astype(array.dtype)


def turned(node: onnx.NodeProto) -> bool:
    """Whether the right factor is given as columns."""
    return any(a.name == "transB" and a.i for a in node.attribute)


def prune(source: Path, target: Path, pattern: str) -> None:
    """Writes the model at ``source`` pruned to ``target``."""
    percent, _, block = pattern.lstrip("i").partition(":")
    height, _, deep = (block or "1x1").partition("x")
    model = onnx.load(source)
    stored = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type in DECODERS}
    layers = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm", "Conv")]
    first = next((n for n in layers if n.op_type == "Conv"), None)
    axes = {
        stored.get(n.input[1], n.input[1]): int(n.op_type != "Conv" and not turned(n))
        for n in layers
        if n is not first
    }
    for tensor in model.graph.initializer:
        if tensor.name in axes and int(np.prod(tensor.dims)) >= SMALLEST:
            array = numpy_helper.to_array(tensor)
            shape = int(height), int(deep or 1)
            sparse = pruned(array, float(percent) / 100, shape, axes[tensor.name])
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(sparse), tensor.name))
    onnx.save(model, target)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pruned models against dense ones.")
    parser.add_argument("model", type=Path)
    parser.add_argument("patterns", nargs="*", default=PATTERNS)
    parser.add_argument("--codes", type=Path, help="the quantized model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure")
    parser.add_argument("--peer", action="store_true", help="measure other engines, too")
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        compiled = partial(mlc.compile, threads=chosen.threads)
        models = {"dense": compiled(chosen.model)}
        for pattern in chosen.patterns:
            path = Path(folder) / "pruned.onnx"
            prune(chosen.codes if pattern.startswith("i") else chosen.model, path, pattern)
            models[pattern] = compiled(path)
    feeds = feeds_of(models["dense"])
    runs: dict[str, Run] = {name: partial(model.run, feeds) for name, model in models.items()}
    integer_peers = INTEGER_PEERS if chosen.codes and chosen.peer else ()
    if chosen.peer:
        runs["onnxruntime"] = peer(chosen.model, chosen.threads, feeds)
        for engine in integer_peers:
            runs[f"{engine} int8"] = peer(chosen.codes, chosen.threads, feeds, engine)
    taken = medians(runs, chosen.seconds)
    for name, seconds in taken.items():
        line = f"{name:16} {seconds * 1e3:8.2f} ms  {taken['dense'] / seconds:5.2f}x dense"
        if chosen.peer:
            line += f"  {taken['onnxruntime'] / seconds:5.2f}x onnxruntime"
        if integers := [taken[f"{engine} int8"] for engine in integer_peers]:
            line += f"  {min(integers) / seconds:5.2f}x dense int8"
        if name in models:
            size = models[name].weight_bytes / models["dense"].weight_bytes
            kinds = Counter(site["algorithm"] for site in models[name].manifest["sites"])
            line += f"  {size:5.2f}x weights  {kinds['sparse']} sparse"
        print(line)


if __name__ == "__main__":
    main()

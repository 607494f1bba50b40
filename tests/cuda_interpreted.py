"""A stand-in GPU whose kernels are those of an artifact, interpreted from the source that it holds.

Arguments come through the driver's interface and the binary's own table of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from cuda_standin import Call, StandIn, standing_in
from cuda_tensor_map import TensorMap
from interpreted import Interpreted, Memory
from mlc.codegen.cuda.build import Build, build
from mlc.codegen.cuda.compile import Binary
from mlc.codegen.cuda.frame import Code
from mlc.codegen.cuda.plan import Binaries, compile_kernels, described
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.driver.signature import signature_of
from mlc.runtime import Artifact, Model
from xdsl.dialects.builtin import ModuleOp

_WIDTHS = {"i1": "u8", "i8": "u8", "u8": "u8", "i32": "u32", "i64": "u64"}


def interpreting(artifact: Artifact, arch: tuple[int, int] = (9, 0)) -> StandIn:
    """The GPU; its results are "interpreted": no GPU ran anything."""
    entry = artifact.manifest["cuda"]
    offset, size = entry["source"]
    memory = Memory()
    kernels = Interpreted(artifact.code[offset : offset + size].decode(), memory)
    gpu = StandIn(arch=arch)
    for kernel in entry["kernels"]:
        gpu.bodies[kernel["name"]] = _body(kernels, memory, kernel)
    return gpu


def _body(kernels: Interpreted, memory: Memory, entry: Mapping[str, Any]) -> Callable[[Call], None]:
    types, tensors = entry["parameters"], entry.get("descriptors", ())
    # A map, and the sizes and strides behind it.
    places = np.cumsum([len(types), *(1 + 2 * len(t["shape"]) for t in tensors)])

    def run(call: Call) -> None:
        blocks = call.memory.blocks.items()
        memory.ranges[:] = [(start, start + block.nbytes) for start, block in blocks]
        values: list[Any] = [call.integer(n) for n in range(len(types))]
        values += [TensorMap.read(call.arguments[n]).tensor for n in places[:-1]]
        kernels.launch(call.name, call.grid, [*types, *(t["type"] for t in tensors)], values)

    return run


def uncompiled(module: ModuleOp, target: CudaTarget | None = None) -> Artifact:
    """The artifact of a module whose binaries have an interface and no code, for interpreting."""
    target = target or target_for("cuda:ptx")
    made = build(module, target)
    binaries = [{} if c.call else {"ptx": _hollow(c)} for c in made.codes]
    return _artifact(module, made, binaries, target)


def compiled(module: ModuleOp, target: CudaTarget) -> Artifact:
    """The artifact of a module, with its binaries."""
    made = build(module, target)
    return _artifact(module, made, compile_kernels(made, target), target)


def _artifact(module: ModuleOp, made: Build, binaries: Binaries, target: CudaTarget) -> Artifact:
    entry, code = described(made, binaries, target)
    manifest = {
        **signature_of(module, made.symbols).to_manifest(),
        "target": {"name": "cuda", "candidates": target.candidates},
        "sites": made.sites,
        "cuda": entry,
    }
    weights = ((offset, np.asarray(make())) for offset, make in made.weights)
    return Artifact.assemble(manifest, code, weights, made.weights_size)


def run_stood_in(module: ModuleOp, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of a module, run by the runtime on a GPU that is stood in for."""
    artifact = uncompiled(module)
    with standing_in(interpreting(artifact)):
        return list(Model.from_artifact(artifact).run(*arrays).values())


def _hollow(code: Code) -> Binary:
    kinds = ["u64" if t.startswith("*") else _WIDTHS[t] for t in code.signature.values()]
    declared = ",".join(f".param .{k} p{n}" for n, k in enumerate([*kinds, "u64", "u64"]))
    text = (
        ".version 7.0\n.target sm_80\n.address_size 64\n"
        f".visible .entry {code.name}({declared})\n.reqntid {32 * code.num_warps}\n{{ ret; }}\n"
    )
    return Binary(b"", text, code.name, code.num_warps, 0, (0, 1), 0)

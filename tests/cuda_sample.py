"""A small model of two kernels, so that the GPU runtime can be tested without the compiler.

Input ``x`` float32 [N, K]; outputs ``y`` = 3 - (2.5*x + w) float32 [N, K], through the arena, and
``half`` = 0.5*y + w float32 [N, K], where w is a weight of 5 numbers that repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from cuda_standin import Call, StandIn
from mlc.runtime.artifact import Artifact
from mlc.runtime.signature import Signature, Symbol, TensorSpec

F32 = np.dtype(np.float32)
BLOCK = 128
WEIGHT = np.arange(5, dtype=np.float32) / 8
SIGNATURE = Signature(
    [TensorSpec("x", F32, ("N", "K"))],
    [TensorSpec("y", F32, ("N", "K")), TensorSpec("half", F32, ("N", "K"))],
    [Symbol("N"), Symbol("K", max=4096)],
    "sample",
)
AFFINE, SUBTRACT = "affine", "subtract"
PARAMETERS = {
    AFFINE: ("ptr", "ptr", "ptr", "i32", "i32", "f32"),
    SUBTRACT: ("ptr", "ptr", "i64", "f32"),
}
_PTX = {"ptr": "u64", "i32": "u32", "i64": "u64", "f32": "f32"}


def affine(call: Call) -> None:
    """out[i] = scale * x[i] + w[i % k]."""
    n, k = call.integer(3), call.integer(4)
    x, w = call.array(0, F32, n), call.array(1, F32, k)
    call.array(2, F32, n)[:] = np.float32(call.real(5)) * x + np.resize(w, n)


def subtract(call: Call) -> None:
    """out[i] = c - x[i]."""
    n = call.integer(2)
    call.array(1, F32, n)[:] = np.float32(call.real(3)) - call.array(0, F32, n)


BODIES = {AFFINE: affine, SUBTRACT: subtract}


def expected(x: np.ndarray) -> list[np.ndarray]:
    """What the model computes, in numpy."""
    w = np.resize(WEIGHT, x.size).reshape(x.shape)
    y = np.float32(3) - (np.float32(2.5) * x + w)
    return [y, np.float32(0.5) * y + w]


def feed(n: int = 3, k: int = 7) -> np.ndarray:
    """A valid input."""
    return np.random.default_rng(n * 100 + k).standard_normal((n, k)).astype(np.float32)


def sample(cubins: Sequence[int] = (), *, ptx: bool = True, **changes: Any) -> Artifact:
    """The model as an artifact in memory.

    Args:
        cubins: Architectures to compile real cubins for.
        ptx: Whether there is PTX too.
        changes: Of the entry of every kernel.
    """
    code, kernels = b"", []
    for name, parameters in PARAMETERS.items():
        places = {}
        for arch in cubins:
            image = cubin(name, arch)
            places[f"sm_{arch}"] = [len(code), len(image)]
            code += image
        text = ptx_of(name)
        kernels.append(_kernel(name, parameters, places, [len(code), len(text)] if ptx else None))
        kernels[-1] |= changes
        code += text
    manifest = {
        **SIGNATURE.to_manifest(),
        "target": {"name": "cuda"},
        "cuda": {
            "archs": [f"sm_{arch}" for arch in cubins],
            "kernels": kernels,
            "launches": _launches(),
            "arena": "4*N*K + 256",
        },
    }
    return Artifact.assemble(manifest, code, [(256, WEIGHT)], 256 + WEIGHT.nbytes)


def _kernel(name: str, parameters: Sequence[str], cubins: Any, ptx: Any) -> dict[str, Any]:
    return {
        "name": name,
        "cubins": cubins,
        "ptx": ptx,
        "num_warps": 4,
        "num_ctas": 1,
        "shared": 64 << 10,
        "global_scratch_size": 0,
        "global_scratch_align": 1,
        "parameters": list(parameters),
        "divisible": [0, 1],
    }


def _launches() -> list[dict[str, Any]]:
    grid = [f"(N*K + {BLOCK - 1})//{BLOCK}", 1, 1]
    size = {"value": "N*K"}

    def affine_of(source: Any, result: Any, scale: float) -> dict[str, Any]:
        arguments = [source, {"weight": 256}, result, size, {"value": 5}, {"value": scale}]
        return {"kernel": 0, "grid": grid, "arguments": arguments, "node": "Affine_1"}

    middle = {"arena": 256}
    return [
        affine_of({"input": 0}, middle, 2.5),
        {
            "kernel": 1,
            "grid": grid,
            "arguments": [middle, {"output": 0}, size, {"value": 3.0}],
            "node": "Sub_2",
        },
        affine_of({"output": 0}, {"output": 1}, 0.5),
    ]


def ptx_of(name: str) -> bytes:
    """PTX with the right interface, and no body."""
    kinds = [*(_PTX[p] for p in PARAMETERS[name]), "u64", "u64"]
    declared = ",\n".join(f"  .param .{kind} {name}_{n}" for n, kind in enumerate(kinds))
    head = ".version 7.0\n.target sm_80\n.address_size 64\n"
    return (
        f"{head}.visible .entry {name}(\n{declared}\n)\n.reqntid {BLOCK}\n{{\n  ret;\n}}\n".encode()
    )


@cache
def cubin(name: str, arch: int) -> bytes:
    """The kernel compiled by Triton."""
    import cuda_kernels
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(cuda_kernels, name)
    types = {"ptr": "*fp32", "i32": "i32", "i64": "i64", "f32": "fp32"}
    kinds = [types[p] for p in PARAMETERS[name]]
    signature = dict(zip(kernel.arg_names, [*kinds, "constexpr"], strict=True))
    hints = {(n,): [["tt.divisibility", 16]] for n in (0, 1)}
    source = ASTSource(kernel, signature, {(len(kinds),): BLOCK}, hints)
    options = {"num_warps": 4, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options).asm["cubin"]


def standin(**options: Any) -> StandIn:
    """A driver that knows what the sample's kernels compute."""
    made = StandIn(**options)
    made.bodies.update(BODIES)
    return made

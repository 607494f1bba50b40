"""A stand-in GPU whose kernels are those of an artifact, interpreted from the source that it holds.

Arguments come through the driver's interface and the cubin's own table of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cuda_standin import Call, StandIn
from interpreted import Interpreted, Memory
from mlc.runtime import Artifact


def interpreting(artifact: Artifact, arch: tuple[int, int] = (9, 0)) -> StandIn:
    """The GPU; its results are "interpreted": no GPU ran anything."""
    entry = artifact.manifest["cuda"]
    offset, size = entry["source"]
    memory = Memory()
    kernels = Interpreted(artifact.code[offset : offset + size].decode(), memory)
    gpu = StandIn(arch=arch)
    for kernel in entry["kernels"]:
        gpu.bodies[kernel["name"]] = _body(kernels, memory, kernel["parameters"])
    return gpu


def _body(kernels: Interpreted, memory: Memory, types: Sequence[str]) -> Callable[[Call], None]:
    def run(call: Call) -> None:
        blocks = call.memory.blocks.items()
        memory.ranges[:] = [(start, start + block.nbytes) for start, block in blocks]
        values = [call.integer(n) for n in range(len(types))]
        kernels.launch(call.name, call.grid, types, values)

    return run

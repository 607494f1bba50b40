"""A kernel as a manifest tells it: where its code is, and what its launches need.

Instead of code there may be what a library is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .tensor_maps import Descriptor
from .vendor import Call
from .vendors import call_of


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel's code and what its launches need.

    Attributes:
        name: Of its entry.
        cubins: Offset and size in the code, by architecture.
        ptx: The same for its PTX, if there is any.
        threads: Of a block.
        ctas: Blocks of a cluster.
        shared: Bytes of shared memory.
        scratch: Bytes of global memory for each block.
        parameters: Types as Triton names them, such as ``*fp32`` and ``i32``; any pointer may be
            ``ptr``.
        divisible: The parameters whose values are multiples of 16.
        descriptors: The tensors that it takes behind these parameters.
        resident: So many programs for each multiprocessor are enough for any grid; 0 if not.
        call: What a library is asked for; None where there is code.
    """

    name: str
    cubins: Mapping[str, tuple[int, int]]
    ptx: tuple[int, int] | None
    threads: int
    ctas: int
    shared: int
    scratch: int
    parameters: tuple[str, ...]
    divisible: frozenset[int]
    descriptors: tuple[Descriptor, ...] = ()
    resident: int = 0
    call: Call | None = None

    @staticmethod
    def from_manifest(entry: Mapping[str, Any]) -> Kernel:
        """Reads one entry of ``kernels``."""
        align = max(1, int(entry.get("global_scratch_align", 1)))
        scratch = -(-int(entry.get("global_scratch_size", 0)) // align) * align
        ptx = entry.get("ptx")
        return Kernel(
            str(entry["name"]),
            {str(arch): _range(place) for arch, place in entry["cubins"].items()},
            _range(ptx) if ptx else None,
            32 * int(entry["num_warps"]),
            int(entry.get("num_ctas", 1)),
            int(entry.get("shared", 0)),
            scratch,
            tuple(str(p) for p in entry["parameters"]),
            frozenset(entry.get("divisible", ())),
            tuple(map(Descriptor.from_manifest, entry.get("descriptors", ()))),
            int(entry.get("resident", 0)),
            call_of(entry),
        )


def _range(place: Sequence[int]) -> tuple[int, int]:
    offset, size = (int(p) for p in place)
    return offset, size

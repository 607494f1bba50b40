"""Target facts: what a CPU offers. Code generation reads these and never asks for a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from llvmlite import binding

from ...ir.errors import TargetError


@dataclass(frozen=True)
class CpuTarget:
    """A CPU to generate code for.

    Attributes:
        triple: LLVM's name of architecture, system and ABI.
        cpu: LLVM's name of the processor.
        features: LLVM's feature string.
        vector_bits: The width of a machine vector.
        registers: How many vector registers there are.
        dot4: LLVM's intrinsic, by lanes, that adds the products of four bytes without sign and
            four with sign to each lane; empty where there is none.
        dot2: The same for the products of two bf16, added to f32.
        pairs: The same for the sums of the products of two i16, added to nothing.
        packs: LLVM's intrinsics that pack two machine vectors of i32 to i16, and those to bytes
            without and with sign, within each 128 bits, saturating; may be empty.
        choose: LLVM's intrinsic that chooses 64 of 128 bytes by their numbers; may be empty.
        multipliers: How many machine vectors of products begin in a cycle, and as many are loaded.
        exact: Whether to leave out algorithms that round more than plain sums do.
        narrow: Whether products may round their factors to bf16.
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int
    registers: int
    dot4: Mapping[int, str] = field(default_factory=dict, hash=False)
    dot2: Mapping[int, str] = field(default_factory=dict, hash=False)
    packs: tuple[str, ...] = ()
    choose: str = ""
    exact: bool = False
    narrow: bool = False
    pairs: Mapping[int, str] = field(default_factory=dict, hash=False)
    multipliers: int = 2

    def lanes(self, bits: int) -> int:
        """How many elements of ``bits`` a machine vector holds."""
        return max(1, self.vector_bits // bits)


_STEPS = ("packssdw", "packuswb", "packsswb")
_PACKS_256 = tuple(f"llvm.x86.avx2.{step}" for step in _STEPS)
_PACKS_512 = tuple(f"llvm.x86.avx512.{step}.512" for step in _STEPS)
_PAIRS_256 = {8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}
_PAIRS_512 = {16: "llvm.x86.avx512.pmaddw.d.512", **_PAIRS_256}
# CPUs that take vectors of 512 bits in halves.
_HALVING = frozenset(["znver4", "icelake-client", "rocketlake", "tigerlake"])
_SYSTEM = "x86_64-unknown-linux-gnu"
_NAMED = {
    "x86-64-v3": CpuTarget(_SYSTEM, "x86-64-v3", "", 256, 16, packs=_PACKS_256, pairs=_PAIRS_256),
    "x86-64-v4": CpuTarget(_SYSTEM, "x86-64-v4", "", 512, 32, packs=_PACKS_512, pairs=_PAIRS_512),
    "aarch64": CpuTarget("aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32),
}


def presets() -> dict[str, CpuTarget]:
    """The targets that have a name, by it."""
    return dict(_NAMED)


def target_for(name: str) -> CpuTarget:
    """The target of ``cpu`` (this machine) or ``cpu:<architecture>``.

    Raises:
        TargetError: The architecture is not known.
    """
    _, _, architecture = name.partition(":")
    if not architecture:
        return host()
    if architecture not in _NAMED:
        known = ", ".join(f"cpu:{n}" for n in _NAMED)
        raise TargetError(f"unknown target '{name}'; known targets: cpu, {known}")
    return _NAMED[architecture]


@cache
def host() -> CpuTarget:
    """This machine."""
    features = binding.get_host_cpu_features()
    wide = features.get("avx512f", False)
    bits = 512 if wide else 256 if features.get("avx2", False) else 128
    triple = binding.get_process_triple()
    registers = 16 if triple.startswith("x86") and not wide else 32
    name = binding.get_host_cpu_name()
    choose = "llvm.x86.avx512.vpermi2var.qi.512" if features.get("avx512vbmi", False) else ""
    narrow = _dot4(features), _dot2(features), _packs(features)
    return CpuTarget(
        triple,
        name,
        features.flatten(),
        bits,
        registers,
        *narrow,
        choose,
        pairs=_pairs(features),
        multipliers=1 if name in _HALVING and wide else 2,
    )


def _dot4(features: Mapping[str, bool]) -> dict[int, str]:
    """The sum of products of bytes, where there is an instruction for it."""
    short = features.get("avx512vl", False) or not features.get("avx512f", False)
    found = {}
    if features.get("avx512vnni", False):
        found[16] = "llvm.x86.avx512.vpdpbusd.512"
    if features.get("avxvnni", False) or (found and short):
        found |= {8: "llvm.x86.avx512.vpdpbusd.256", 4: "llvm.x86.avx512.vpdpbusd.128"}
    return found


def _pairs(features: Mapping[str, bool]) -> dict[int, str]:
    """The sum of products of pairs of i16, where there is an instruction for it."""
    if features.get("avx512bw", False):
        return _PAIRS_512
    return _PAIRS_256 if features.get("avx2", False) else {}


def _dot2(features: Mapping[str, bool]) -> dict[int, str]:
    """The sum of products of bf16, where there is an instruction for it."""
    if not features.get("avx512bf16", False):
        return {}
    lanes = (16, 8, 4) if features.get("avx512vl", False) else (16,)
    return {n: f"llvm.x86.avx512bf16.dpbf16ps.{32 * n}" for n in lanes}


def _packs(features: Mapping[str, bool]) -> tuple[str, ...]:
    """What narrows whole machine vectors."""
    if features.get("avx512f", False):
        return _PACKS_512 if features.get("avx512bw", False) else ()
    return _PACKS_256 if features.get("avx2", False) else ()

"""Target facts: what NVIDIA GPUs offer, by architecture. Templates read these, never a name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from ...ir.errors import TargetError

_NARROW = {"f16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}


@dataclass(frozen=True)
class Architecture:
    """A generation of GPUs.

    Attributes:
        name: Such as ``sm_90``.
        capability: The number by which Triton knows it.
        shared: Bytes of shared memory that one program may use.
        multiprocessors: How many there are on the usual card, for estimates.
        cache: Bytes of its second-level cache, for estimates.
        fp8: Whether f8E4M3FN can be converted and multiplied.
        descriptors: Whether it copies tiles that descriptors tell, while it does other work.
        card: What it is known for.
    """

    name: str
    capability: int
    shared: int
    multiprocessors: int
    cache: int
    fp8: bool
    descriptors: bool
    card: str


_ARCHITECTURES = {
    a.name: a
    for a in (
        Architecture("sm_80", 80, 166_912, 108, 40 << 20, False, False, "A100"),
        Architecture("sm_86", 86, 101_376, 84, 6 << 20, False, False, "A10, RTX 30"),
        Architecture("sm_89", 89, 101_376, 128, 48 << 20, True, False, "L40, RTX 40"),
        Architecture("sm_90", 90, 232_448, 132, 50 << 20, True, True, "H100, H200"),
        Architecture("sm_100", 100, 232_448, 148, 126 << 20, True, True, "B200"),
    )
}


# Code that the driver of any later GPU compiles for it.
_ANY = "any from A100 on, compiled by its driver"
PORTABLE = Architecture("ptx", 80, 101_376, 84, 6 << 20, False, False, _ANY)


@dataclass(frozen=True)
class CudaTarget:
    """GPUs to generate code for.

    Attributes:
        architectures: Each gets code of its own from one source.
        precision: To what products of f32 round their factors: ``f32``, ``tf32`` (10 bits of
            mantissa), ``f16`` (10 bits, up to 65504) or ``bf16`` (7 bits); sums are in f32.
        candidates: In how many ways at most each kernel is written, for one to be measured best.
        aligned: Whether what kernels read and write surely lies at multiples of 16 bytes.
    """

    architectures: tuple[Architecture, ...]
    precision: str = "f32"
    candidates: int = 1
    aligned: bool = True

    @property
    def shared(self) -> int:
        """Bytes of shared memory that a program may use on all of them."""
        return min(a.shared for a in self.architectures)

    @property
    def multiprocessors(self) -> int:
        """How many programs at least keep all of them at work."""
        return max(a.multiprocessors for a in self.architectures)

    @property
    def cache(self) -> int:
        """Bytes that the second-level caches of all of them hold."""
        return min(a.cache for a in self.architectures)

    @property
    def narrow(self) -> np.dtype | None:
        """In what weights and values between kernels are stored that were f32; None as they are."""
        return _NARROW.get(self.precision)

    @property
    def descriptors(self) -> bool:
        """Whether all of them copy tiles that descriptors tell."""
        return all(a.descriptors for a in self.architectures)

    @property
    def fp8(self) -> bool:
        """Whether all of them know f8E4M3FN."""
        return all(a.fp8 for a in self.architectures)


def presets() -> dict[str, CudaTarget]:
    """A target for each architecture, by its name."""
    return {name: CudaTarget((a,)) for name, a in _ARCHITECTURES.items()}


def target_for(name: str) -> CudaTarget:
    """The target of ``cuda:sm_80``, or of several, ``cuda:sm_80,sm_90,ptx``.

    Raises:
        TargetError: An architecture is not known.
    """
    listed = name.partition(":")[2].split(",")
    return CudaTarget(tuple(_architectures(n.strip() for n in listed)))


def _architectures(names: Iterable[str]) -> Iterable[Architecture]:
    known = {**_ARCHITECTURES, PORTABLE.name: PORTABLE}
    for name in dict.fromkeys(names):
        if name not in known:
            raise TargetError(f"unknown GPU architecture '{name}'; known: {', '.join(known)}")
        yield known[name]

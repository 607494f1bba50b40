"""The targets by name: what each can do, and how a module becomes an artifact for it."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import __version__
from ..codegen.cpu.target import CpuTarget, presets, target_for
from ..codegen.cuda import target as cuda
from ..codegen.cuda.target import CudaTarget
from ..ir.errors import TargetError
from ..runtime import Artifact
from ..runtime.artifact import join_objects
from .stages import Stages

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..codegen.choice import Chooser
    from ..codegen.cpu.build import Build
    from ..codegen.cpu.estimate import Estimate
    from ..passes.compress.costs import Costs
    from ..passes.manager import Options

REFERENCE = "reference"
PRECISIONS = ("f32", "bf16", "f16", "tf32")


class Target(Protocol):
    """What models are compiled for."""

    @property
    def name(self) -> str:
        """Such as ``cpu:x86-64-v3``."""
        ...

    @property
    def facts(self) -> CpuTarget | CudaTarget:
        """What code generation knows of it."""
        ...

    @property
    def precision(self) -> str:
        """What was asked for: one of PRECISIONS."""
        ...

    def rounding(self) -> dict[str, str]:
        """Which precision was asked for, which is used, and why."""
        ...

    def compile(
        self, module: ModuleOp, options: Options, stages: Stages, choose: Chooser | None = None
    ) -> Artifact:
        """The artifact of a simplified module, which is used up."""
        ...

    def costs(self) -> Costs:
        """What predicts how long ops take."""
        ...


@dataclass(frozen=True)
class NativeTarget:
    """A CPU by its name.

    Attributes:
        name: Such as ``cpu:x86-64-v3``.
        facts: What code generation knows of it.
        precision: What was asked for: one of PRECISIONS.
    """

    name: str
    facts: CpuTarget
    precision: str = "f32"

    def rounding(self) -> dict[str, str]:
        """Which precision was asked for, which is used, and why."""
        told = {"asked": self.precision, "used": "bf16" if self.facts.narrow else "f32"}
        if self.precision != told["used"]:
            told["why"] = f"{self.facts.cpu} has no instruction that multiplies {self.precision}"
        return told

    def compile(
        self, module: ModuleOp, options: Options, stages: Stages, choose: Chooser | None = None
    ) -> Artifact:
        """The artifact of a simplified module, which is used up.

        ``choose`` answers what code generation may choose; None leaves it to estimates.

        Raises:
            TargetError: The module holds something that the target has no code for.
        """
        from ..codegen.choice import by_estimate
        from ..codegen.cpu.build import build

        with stages("generate code"):
            made = build(module, self.facts, options, choose or by_estimate)
        with stages("lay out weights"):
            return self.artifact(module, made)

    def artifact(self, module: ModuleOp, made: Build) -> Artifact:
        """The artifact of a module and of what became of it."""
        from .signature import signature_of

        weights = ((offset, np.asarray(make())) for offset, make in made.weights)
        described = {**signature_of(module, made.symbols).to_manifest(), **self._described(made)}
        code = join_objects(made.objects)
        return replace(
            Artifact.assemble(described, code, weights, made.weights_size), source=made.text
        )

    def costs(self) -> Estimate:
        """What predicts how long ops take."""
        from ..codegen.cpu.estimate import Estimate

        return Estimate(self.facts)

    def _described(self, made: Build) -> dict[str, Any]:
        return {
            "target": {"name": self.name, **asdict(self.facts)},
            "compiler": f"mlc {__version__}",
            "expansion": asdict(made.expansion),
            "errors": made.errors,
            "sites": made.sites,
            # Only models with one and the same pool code may share its threads.
            "pool": hashlib.sha256(made.objects[-1]).hexdigest()[:16],
        }


def target_named(
    name: str, exact: bool = False, precision: str = "f32", candidates: int = 1
) -> Target | None:
    """The target called ``name``; None for the reference interpreter.

    ``exact`` leaves out algorithms that round more than plain sums do; with ``precision`` bf16
    products round their factors, where the target has an instruction for that. Artifacts for GPUs
    hold up to ``candidates`` ways to compute each kernel.

    Raises:
        TargetError: There is none; the message lists those that there are. Or what is asked of it
            makes no sense.
    """
    if precision not in PRECISIONS:
        raise TargetError(f"unknown precision '{precision}': it is one of {', '.join(PRECISIONS)}")
    if candidates < 1:
        raise TargetError(f"candidates is {candidates}: a kernel is computed in one way at least")
    if name == REFERENCE:
        return None
    family, _, _ = name.partition(":")
    if family == "cuda":
        from .gpu import gpu_named

        return gpu_named(name, exact, precision, candidates)
    if family != "cpu" or name not in known_targets():
        known = "".join(f"\n  {n:<16} {what}" for n, what in known_targets().items())
        raise TargetError(f"unknown target '{name}'; the targets are:{known}")
    if candidates > 1:
        raise TargetError("artifacts for CPUs hold no candidates: tune=True measures them")
    facts = target_for(name)
    narrow = precision == "bf16" and bool(facts.dot2)
    return NativeTarget(name, replace(facts, exact=exact, narrow=narrow), precision)


def known_targets() -> dict[str, str]:
    """Every target's name and what it is."""
    here = target_for("cpu")
    named = {f"cpu:{n}": _facts(t) for n, t in presets().items()}
    return {
        "cpu": f"this machine: {here.cpu} ({platform.machine()}), {_facts(here)}",
        **named,
        "cuda": "the NVIDIA GPU of this machine; several: cuda:sm_80,sm_90; any: cuda:ptx",
        **{f"cuda:{n}": t.architectures[0].card for n, t in cuda.presets().items()},
        REFERENCE: "numpy, op by op: slow, and right by construction",
    }


def _facts(target: CpuTarget) -> str:
    return f"{target.vector_bits}-bit vectors, {target.registers} registers"

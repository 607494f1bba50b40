"""NVIDIA GPUs as targets: kernels of Triton, compiled here, run wherever there is such a GPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..codegen.cuda.target import CudaTarget, target_for
from ..ir.errors import TargetError
from ..runtime import Artifact, DeviceError
from .stages import Stages

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..codegen.choice import Chooser
    from ..passes.compress.costs import Costs
    from ..passes.manager import Options


@dataclass(frozen=True)
class Gpu:
    """One generation of NVIDIA GPUs, or several.

    Attributes:
        name: Such as ``cuda:sm_90``.
        facts: What code generation knows of them.
        precision: What was asked for.
    """

    name: str
    facts: CudaTarget
    precision: str = "f32"

    def rounding(self) -> dict[str, str]:
        """Which precision was asked for, and which is used: every GPU multiplies all of them."""
        return {"asked": self.precision, "used": self.facts.precision}

    def compile(
        self, module: ModuleOp, options: Options, stages: Stages, choose: Chooser | None = None
    ) -> Artifact:
        """The artifact of a simplified module, which is used up; choices are not measured yet.

        Raises:
            UnsupportedError: The module holds something that the target has no kernel for.
            TargetError: Triton is not installed, or does not compile a kernel.
        """
        from ..codegen.cuda.build import build
        from ..codegen.cuda.plan import compile_kernels, described
        from .signature import signature_of

        with stages("write kernels"):
            made = build(module, self.facts, options)
            manifest = signature_of(module, made.symbols).to_manifest()
        with stages("compile kernels"):
            entry, code = described(made, compile_kernels(made, self.facts), self.facts)
        with stages("lay out weights"):
            weights = ((offset, np.asarray(make())) for offset, make in made.weights)
            told = {
                **manifest,
                "target": {"name": self.name, **asdict(self.facts)},
                "compiler": f"mlc {__version__}",
                "errors": [],
                "sites": made.sites,
                "cuda": entry,
            }
            return Artifact.assemble(told, code, weights, made.weights_size)

    def costs(self) -> Costs:
        """What predicts how long ops take."""
        from ..passes.compress.costs import Arithmetic

        return Arithmetic()


def gpu_named(name: str, exact: bool, precision: str, candidates: int = 1) -> Gpu:
    """The target of ``cuda:sm_90``; of ``cuda``, this machine's GPU.

    Each kernel is written in up to ``candidates`` ways.

    Raises:
        TargetError: The architecture is not known, or there is no GPU here.
    """
    full = name if ":" in name else f"cuda:{_architecture_here()}"
    facts = target_for(full)
    used = "f32" if exact else precision
    return Gpu(full, replace(facts, precision=used, candidates=candidates), precision)


def check_tunable(target: Gpu) -> None:
    """Refuses to tune for a GPU that is not here.

    Raises:
        TargetError: It is not.
    """
    from ..runtime.cuda.device import current_device
    from ..runtime.cuda.loaded import runs_on

    try:
        device = current_device()
    except DeviceError as error:
        problem = str(error)
    else:
        if any(runs_on(a.name, device.arch) for a in target.facts.architectures):
            return
        problem = f"the GPU of this machine is {device}"
    raise TargetError(
        f"nothing can be measured for '{target.name}': {problem}; compile with candidates=6, and "
        "tune the model where it runs (Model.tune, mlc run --tune)"
    )


def _architecture_here() -> str:
    from ..runtime.cuda.device import current_device

    try:
        return current_device().arch
    except DeviceError as error:
        raise TargetError(
            f'target="cuda" is the GPU of this machine: {error}. To compile for another one, name '
            'it, as in target="cuda:sm_90"'
        ) from None

"""Chooses the template for each kernel, and says why; equal kernels share one function."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from xdsl.ir import SSAValue

from ...ir.errors import TargetError
from ...ir.kernel import KernelOp
from ...ir.op import GraphOp, Param
from ...ir.ops.attention import AttentionOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.structure import Contraction
from ...ir.types import F32, type_of
from ...passes.decode_weights import note_of
from .convolution import choose
from .sparsity import SparseChoice, choose_sparse, skips_zeros
from .target import CpuTarget
from .templates.bfloat import bfloat_kernel
from .templates.bfloat_attention import rounded_attention_kernel
from .templates.concat import concat_kernel
from .templates.contraction import contraction_kernel
from .templates.depthwise import depthwise_kernel
from .templates.encoded import encoded_kernel
from .templates.frame import Code
from .templates.integer import integer_kernel
from .templates.pads import pad_kernel
from .templates.reduction import reduction_kernel
from .templates.row import row_kernel
from .templates.sparse import sparse_kernel
from .templates.special import SPECIAL
from .templates.winograd import winograd_kernel

# Makes the code of a kernel, a target and a name; None where it has none for that kernel.
Template = Callable[[KernelOp, str, CpuTarget], Code | None]

_PLAIN = {
    "row": row_kernel,
    "reduction": reduction_kernel,
    "concat": concat_kernel,
    "pad": pad_kernel,
    "attention": rounded_attention_kernel,
    **SPECIAL,
}


@dataclass
class Scheduler:
    """Makes the code of kernels, once for each distinct one."""

    target: CpuTarget

    def __post_init__(self) -> None:
        self.codes: dict[Hashable, Code] = {}
        self._chosen: dict[Hashable, KernelOp] = {}

    def code(self, kernel: KernelOp) -> Code:
        """The code of a kernel; its ``algorithm`` and ``why`` are set to what was chosen."""
        sparse = choose_sparse(kernel, self.target)
        key = kernel_key(kernel), sparse.height
        if key not in self.codes:
            self.codes[key] = self._generate(kernel, sparse, f"k{len(self.codes)}_{_title(kernel)}")
            self._chosen[key] = kernel
        for name in ("algorithm", "why"):
            kernel.properties[name] = self._chosen[key].properties[name]
        why = note_of(kernel.ops) or sparse.why
        if why:
            kernel.properties["why"] = Param(why)
        return self.codes[key]

    def _generate(self, kernel: KernelOp, sparse: SparseChoice, name: str) -> Code:
        if sparse.height:
            kernel.properties["algorithm"] = Param("sparse")
            return sparse_kernel(kernel, name, self.target, sparse.height)
        algorithm = kernel.algorithm.data
        if algorithm == "contraction":
            return self._product(kernel, name)
        if algorithm not in _PLAIN:
            raise TargetError(f"the CPU target has no kernel for '{algorithm}'")
        return _PLAIN[algorithm](kernel, name, self.target)

    def _product(self, kernel: KernelOp, name: str) -> Code:
        """By the first template that takes the kernel."""
        for algorithm, template in _PRODUCTS:
            code = template(kernel, name, self.target)
            if code is not None:
                kernel.properties["algorithm"] = Param(algorithm)
                return code
        kernel.properties["algorithm"] = Param("reduction")
        kernel.properties["why"] = Param("it is no product of two strided factors")
        return reduction_kernel(kernel, name, self.target)


def _winograd(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    (root,) = (op for op in kernel.ops if isinstance(op.structure(), Contraction))
    if not isinstance(root, ConvOp):
        return None
    choice = choose(root, target)
    kernel.properties["why"] = Param(choice.why)
    return winograd_kernel(kernel, name, target, choice.results) if choice.results else None


# The ways to compute a sum of products, the most special first.
_PRODUCTS: tuple[tuple[str, Template], ...] = (
    ("encoded", encoded_kernel),
    ("winograd", _winograd),
    ("depthwise", depthwise_kernel),
    ("bf16", bfloat_kernel),
    ("contraction", contraction_kernel),
    ("integer", integer_kernel),
)


def has_kernel(op: GraphOp) -> bool:
    """Whether a composite op is computed whole, not by the ops it stands for."""
    if not isinstance(op, AttentionOp) or type_of(op.q).dtype != F32:
        return False
    features = (type_of(op.q).shape[3], type_of(op.v).shape[3])
    return type_of(op.q).shape[2] != 1 and all(isinstance(f, int) and f <= 512 for f in features)


def watches_border(op: GraphOp, target: CpuTarget) -> bool:
    """Whether the kernel of ``op`` reads around its pads, so that no padded copy is needed."""
    if not isinstance(op, ConvOp) or skips_zeros(op, target):
        return False
    return choose(op, target).results > 0


def kernel_key(kernel: KernelOp) -> Hashable:
    """Equal for kernels with the same code: ops, parameters, types, which inputs are constant."""
    numbers: dict[SSAValue, int] = {}
    for value in (*kernel.block.args, *(r for op in kernel.block.ops for r in op.results)):
        numbers[value] = len(numbers)
    ops = tuple(
        (
            op.name,
            tuple(numbers[o] for o in op.operands),
            tuple(sorted(op.properties.items(), key=lambda p: p[0])),
            tuple(r.type for r in op.results),
        )
        for op in kernel.block.ops
    )
    constant = tuple(isinstance(i.owner, ConstantOp) for i in kernel.inputs)
    return ops, tuple(a.type for a in kernel.block.args), constant


def _title(kernel: KernelOp) -> str:
    names = [op.name.removeprefix("mlc.") for op in kernel.ops if op.name != "mlc.constant"]
    return "_".join(dict.fromkeys(names))[:60]

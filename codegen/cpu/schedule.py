"""Chooses the template for each kernel, and says why; equal kernels share one function."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.errors import TargetError
from ...ir.kernel import KernelOp
from ...ir.op import GraphOp, Param
from ...ir.ops.attention import AttentionOp
from ...ir.ops.conv import ConvOp
from ...ir.ops.pool import MaxPoolOp
from ...ir.types import DTYPES, F32, type_of
from ...passes.decode_weights import note_of
from ..choice import Chooser, Option, by_estimate
from ..kernels import kernel_key, title
from .convolution import choose, measured, others
from .sparsity import SparseChoice, choose_sparse, skips_zeros
from .target import CpuTarget
from .templates.bfloat import bfloat_kernel
from .templates.bfloat_attention import rounded_attention_kernel
from .templates.concat import concat_kernel
from .templates.contraction import contraction_kernel
from .templates.depthwise import depthwise_kernel
from .templates.encoded import encoded_kernel
from .templates.frame import Code
from .templates.integer_pair import integer_kernel
from .templates.one_query import one_query_kernel, streams
from .templates.pads import pad_kernel
from .templates.pool import pool_kernel
from .templates.reduction import reduction_kernel
from .templates.row import row_kernel
from .templates.sparse_bytes import sparse_kernel
from .templates.special import SPECIAL
from .templates.strassen import strassen_kernel
from .templates.winograd import winograd_kernel

# Makes the code of a kernel, a target and a name; None where it has none for that kernel.
Template = Callable[[KernelOp, str, CpuTarget], Code | None]


def _attention(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    (op,) = (op for op in kernel.ops if isinstance(op, AttentionOp))
    template = one_query_kernel if type_of(op.q).shape[2] == 1 else rounded_attention_kernel
    return template(kernel, name, target)


_PLAIN = {
    "row": row_kernel,
    "concat": concat_kernel,
    "pad": pad_kernel,
    "attention": _attention,
    **SPECIAL,
}
_ATTENDED = (F32, DTYPES["f16"], DTYPES["bf16"])


@dataclass
class Scheduler:
    """Makes the code of kernels, once for each distinct one."""

    target: CpuTarget
    choose: Chooser = by_estimate

    def __post_init__(self) -> None:
        self.codes: dict[Hashable, Code] = {}
        self._chosen: dict[Hashable, KernelOp] = {}

    def code(self, kernel: KernelOp) -> Code:
        """The code of a kernel; its ``algorithm`` and ``why`` are set to what was chosen."""
        sparse = choose_sparse(kernel, self.target)
        key = kernel_key(kernel), sparse.height
        if key not in self.codes:
            self.codes[key] = self._best(kernel, sparse, f"k{len(self.codes)}_{title(kernel)}")
            self._chosen[key] = kernel
        for name in ("algorithm", "why"):
            kernel.properties[name] = self._chosen[key].properties[name]
        if why := note_of(kernel.ops) or sparse.told(kernel.algorithm.data):
            kernel.properties["why"] = Param(why)
        return self.codes[key]

    def _best(self, kernel: KernelOp, sparse: SparseChoice, name: str) -> Code:
        """The code by what is chosen, one thing after the other."""
        planned, chosen = kernel.properties["algorithm"], dict[str, Option]()
        code = self._generate(kernel, sparse, name)
        while question := _question(kernel, sparse, code, self.target):
            subject, title, options = question
            made, kernel.properties["algorithm"] = kernel.properties["algorithm"], planned
            chosen[title] = self.choose(subject, title, options)
            kernel.choose(chosen)
            if chosen[title] == options[0]:
                kernel.properties["algorithm"] = made
            else:
                code = self._generate(kernel, sparse, name)
        return code

    def _generate(self, kernel: KernelOp, sparse: SparseChoice, name: str) -> Code:
        (height,) = kernel.chosen("sparse") or (sparse.height,)
        if height:
            kernel.properties["algorithm"] = Param("sparse")
            return sparse_kernel(kernel, name, self.target, height)
        algorithm = kernel.algorithm.data
        if algorithm in _TEMPLATES:
            return self._first(kernel, name)
        if algorithm not in _PLAIN:
            raise TargetError(f"the CPU target has no kernel for '{algorithm}'")
        return _PLAIN[algorithm](kernel, name, self.target)

    def _first(self, kernel: KernelOp, name: str) -> Code:
        """By the first template that takes the kernel."""
        for algorithm, template in _TEMPLATES[kernel.algorithm.data]:
            code = template(kernel, name, self.target)
            if code is not None:
                kernel.properties["algorithm"] = Param(algorithm)
                return code
        raise AssertionError(f"no template takes {name}")


def _question(
    kernel: KernelOp, sparse: SparseChoice, code: Code, target: CpuTarget
) -> tuple[GraphOp | KernelOp, str, Sequence[Option]] | None:
    """What is to be chosen next: about what, its name, the options; None if all is chosen."""
    found: list[tuple[GraphOp | KernelOp, str, Sequence[Option]]] = []
    if sparse.height:
        found.append((kernel, "sparse", [(h,) for h in (sparse.height, 0)]))
    elif (conv := _convolution(kernel)) is not None:
        found.append((conv, "winograd", _winograd_options(conv, target)))
    found += [(kernel, name, options) for name, options in code.options.items()]
    return next((q for q in found if len(q[2]) > 1 and kernel.chosen(q[1]) is None), None)


def _convolution(kernel: KernelOp) -> ConvOp | None:
    """The convolution that a kernel is around."""
    if kernel.algorithm.data not in ("contraction", "winograd"):
        return None
    return next((op for op in kernel.ops if isinstance(op, ConvOp)), None)


def _winograd_options(conv: ConvOp, target: CpuTarget) -> list[Option]:
    best = choose(conv, target).results
    return [(results,) for results in (best, *others(conv, best, target))]


def _winograd(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    conv = _convolution(kernel)
    if conv is None:
        return None
    choice = choose(conv, target)
    (results,) = kernel.chosen("winograd") or (choice.results,)
    if results != choice.results:
        choice = measured(results)
    kernel.properties["why"] = Param(choice.why)
    return winograd_kernel(kernel, name, target, results) if results else None


def _plain_sum(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    kernel.properties["why"] = Param("it is no product of two strided factors")
    return reduction_kernel(kernel, name, target)


# The ways to compute a sum of products, and other reductions, the most special first.
_TEMPLATES: Mapping[str, Sequence[tuple[str, Template]]] = {
    "contraction": (
        ("encoded", encoded_kernel),
        ("winograd", _winograd),
        ("depthwise", depthwise_kernel),
        ("bf16", bfloat_kernel),
        ("strassen", strassen_kernel),
        ("contraction", contraction_kernel),
        ("integer", integer_kernel),
        ("reduction", _plain_sum),
    ),
    "reduction": (("pool", pool_kernel), ("reduction", reduction_kernel)),
}


def has_kernel(op: GraphOp, target: CpuTarget) -> bool:
    """Whether a composite op is computed whole, not by the ops it stands for."""
    if not isinstance(op, AttentionOp) or type_of(op.q).dtype not in _ATTENDED:
        return False
    features = (type_of(op.q).shape[3], type_of(op.v).shape[3])
    if not all(isinstance(f, int) and f <= 512 for f in features):
        return False
    return type_of(op.q).shape[2] != 1 or streams(op, target)


def watches_border(op: GraphOp, target: CpuTarget, chooser: Chooser = by_estimate) -> bool:
    """Whether the kernel of ``op`` reads around its pads, so that no padded copy is needed."""
    if isinstance(op, MaxPoolOp):
        return True
    if not isinstance(op, ConvOp) or skips_zeros(op, target):
        return False
    return chooser(op, "winograd", _winograd_options(op, target)) != (0,)

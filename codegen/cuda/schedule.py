"""Chooses the template for each kernel, and says why; equal kernels share one function."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...ir.errors import TargetError
from ...ir.kernel import KernelOp
from ...ir.op import GraphOp
from ...ir.ops.attention import AttentionOp
from ...ir.types import DTYPES
from ...passes.decode_weights import note_of
from ..choice import Option
from ..kernels import kernel_key, kernel_types, title
from .database import Database
from .elements import pointer_type
from .frame import Code, laid_out
from .sparsity import choose_sparse
from .target import CudaTarget
from .templates.attention import attention_kernel, is_fused
from .templates.contraction import contraction_kernel
from .templates.encoded import encoded_kernel
from .templates.pointwise import pointwise_kernel, say
from .templates.reduction import reduction_kernel
from .templates.roi_align import roi_align_kernel
from .templates.row import row_kernel
from .templates.scan import scan_kernel
from .templates.scatter import scatter_kernel
from .templates.select import compress_kernel, non_zero_kernel
from .templates.sparse import sparse_kernel
from .templates.suppress import suppress_kernel
from .templates.top_k import top_k_kernel
from .vendors import vendor_code


class Unfit(TargetError):
    """A kernel has no code on the target."""


# The choice that stands for a library's way.
_LIBRARY, _ASKED = "library", (1,)
_FP8 = pointer_type(DTYPES["f8E4M3FN"])
Template = Callable[[KernelOp, str, CudaTarget], Code | None]

_TEMPLATES: dict[str, tuple[Template, ...]] = {
    "row": (row_kernel, pointwise_kernel),
    "reduction": (reduction_kernel,),
    "contraction": (sparse_kernel, encoded_kernel, contraction_kernel, reduction_kernel),
    "attention": (attention_kernel,),
    "concat": (pointwise_kernel,),
    "pad": (pointwise_kernel,),
    "scan": (scan_kernel,),
    "top_k": (top_k_kernel,),
    "scatter_elements": (scatter_kernel,),
    "scatter_nd": (scatter_kernel,),
    "non_zero": (non_zero_kernel,),
    "compress": (compress_kernel,),
    "roi_align": (roi_align_kernel,),
    "non_max_suppression": (suppress_kernel,),
}


@dataclass(frozen=True)
class Way:
    """One way to compute a kernel.

    Attributes:
        number: Of its code.
        algorithm: What it is.
        why: The reason for it.
        choice: What was chosen for it, by name.
        measured: Whether it is taken though it is not the first, which is chosen otherwise.
        left_out: Whether there is nothing to launch: of a launch that other ways need.
    """

    number: int
    algorithm: str
    why: str
    choice: Mapping[str, Option] = field(default_factory=dict)
    measured: bool = False
    left_out: bool = False


def taken(ways: Sequence[Way]) -> Way:
    """The one that was measured to be faster than the first, else the first."""
    return next((way for way in ways if way.measured), ways[0])


@dataclass
class Scheduler:
    """Makes the code of kernels, once for each distinct one."""

    target: CudaTarget

    def __post_init__(self) -> None:
        self.database = Database.of(self.target)
        self.codes: list[Code] = []
        self._ways: dict[Hashable, list[Way]] = {}

    def ways(self, kernel: KernelOp, unaligned: frozenset[int] = frozenset()) -> list[Way]:
        """The ways to compute a kernel; its ``algorithm`` and ``why`` are those of what is taken.

        Of its buffers, those ``unaligned`` may lie anywhere, as rows of odd sizes do.

        Raises:
            Unfit: There is no template for it, or the template no code.
        """
        sparse = choose_sparse(kernel, self.target)
        key = kernel_key(kernel), unaligned, sparse.tile, sparse.kept
        if key not in self._ways:
            name, first = f"k{len(self._ways)}_{title(kernel)}", len(self.codes)
            target = replace(self.target, aligned=not unaligned)
            self._ways[key] = list(self._written(kernel, name, target))
            made = self.codes[first:]
            self.codes[first:] = [replace(code, unaligned=unaligned) for code in made]
        way = taken(self._ways[key])
        reasons = way.why, note_of(kernel.ops), sparse.why
        say(kernel, way.algorithm, "; ".join(filter(None, reasons)))
        return self._ways[key]

    def _written(self, kernel: KernelOp, name: str, target: CudaTarget) -> Iterator[Way]:
        """First what is chosen, then what else is worth measuring, a library's way last."""
        planned = str(kernel.algorithm.data)
        first, chosen, measured = self._first(kernel, name, target)
        yield self._way(kernel, first, chosen)
        asked = planned == "contraction" and (target.candidates > 1 or measured)
        library = self._library(kernel, name, target, first, measured) if asked else None
        others = [{what: option} for what, offered in first.options.items() for option in offered]
        others = [choice for choice in others if choice != chosen]
        for number, choice in enumerate(others[: self.target.candidates - 1], 1):
            say(kernel, planned, "")
            kernel.choose(choice)
            code = self._generate(kernel, f"{name}_{number}", target)
            if laid_out(code.packed) == laid_out(first.packed):
                yield self._way(kernel, code, choice)
        if library:
            yield library

    def _first(
        self, kernel: KernelOp, name: str, target: CudaTarget
    ) -> tuple[Code, Mapping[str, Option], str]:
        """As it was measured to be fastest, else as estimates have it.

        Last is what was measured where a library is faster than both.
        """
        planned = str(kernel.algorithm.data)
        code = self._generate(kernel, name, target)
        subject = _subject(kernel, code, target)
        found = self.database.find(subject, {**code.options, _LIBRARY: [_ASKED]})
        if found is None or _LIBRARY in found.choice:
            choice = {what: options[0] for what, options in code.options.items()}
            return replace(code, subject=subject), choice, found.why if found else ""
        say(kernel, planned, "")
        kernel.choose(found.choice)
        code = self._generate(kernel, name, target)
        say(kernel, str(kernel.algorithm.data), f"{kernel.why.data}; {found.why}")
        return replace(code, subject=subject), found.choice, ""

    def _library(
        self, kernel: KernelOp, name: str, target: CudaTarget, first: Code, measured: str
    ) -> Way | None:
        """A library's way, for somebody to measure, or found to be faster by who did."""
        code = vendor_code(kernel, name, target, first)
        if code is None or code.call is None:
            return None
        self.codes.append(code)
        why = "; ".join(filter(None, (code.call.why, measured)))
        number, choice = len(self.codes) - 1, {_LIBRARY: _ASKED}
        return Way(number, "contraction", why, choice, bool(measured))

    def _way(self, kernel: KernelOp, code: Code, choice: Mapping[str, Option]) -> Way:
        number = len(self.codes)
        self.codes += code.launches
        return Way(number, str(kernel.algorithm.data), str(kernel.why.data), choice)

    def _generate(self, kernel: KernelOp, name: str, target: CudaTarget) -> Code:
        try:
            code = self._templated(kernel, name, target)
        except TargetError as error:
            raise Unfit(str(error)) from error
        if code is None:
            raise Unfit(f"the CUDA target has no kernel for '{kernel.algorithm.data}'")
        if not target.fp8 and _FP8 in code.signature.values():
            raise Unfit("GPUs before sm_89 have no elements of f8E4M3FN")
        return code

    def _templated(self, kernel: KernelOp, name: str, target: CudaTarget) -> Code | None:
        templates = _TEMPLATES.get(str(kernel.algorithm.data), ())
        made = (template(kernel, name, target) for template in templates)
        return next((code for code in made if code is not None), None)


def _subject(kernel: KernelOp, code: Code, target: CudaTarget) -> Mapping[str, int | str]:
    """What a choice depends on; empty where the template does not say."""
    if not code.subject:
        return {}
    types = " ".join(str(type.dtype) for type in kernel_types(kernel))
    said = {"template": str(kernel.algorithm.data), "ops": title(kernel, " "), "types": types}
    return {**said, "precision": target.precision, **code.subject}


def has_kernel(op: GraphOp) -> bool:
    """Whether a composite op is computed whole, not by the ops it stands for."""
    return isinstance(op, AttentionOp) and is_fused(op)

"""Algorithms that are no expression of an element: sorts, scans, scatters, selections."""

from __future__ import annotations

from collections.abc import Callable

from .....ir.kernel import KernelOp
from ...target import CpuTarget
from ..frame import Code
from .roi_align import roi_align_kernel
from .scan import scan_kernel
from .scatter import scatter_elements_kernel, scatter_nd_kernel
from .select import compress_kernel, non_zero_kernel
from .suppress import suppress_kernel
from .top_k import top_k_kernel
from .unique import unique_kernel

# The template of each algorithm that a Special structure names.
SPECIAL: dict[str, Callable[[KernelOp, str, CpuTarget], Code]] = {
    "scan": scan_kernel,
    "scatter_elements": scatter_elements_kernel,
    "scatter_nd": scatter_nd_kernel,
    "top_k": top_k_kernel,
    "non_zero": non_zero_kernel,
    "compress": compress_kernel,
    "unique": unique_kernel,
    "non_max_suppression": suppress_kernel,
    "roi_align": roi_align_kernel,
}

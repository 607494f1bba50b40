"""The passes that lower a graph to kernels, in order, with the reason for each place."""

from __future__ import annotations

from collections.abc import Callable

from ..ir.op import GraphOp
from .contract import Pass
from .dead_code import EliminateDeadCode
from .decompose import Decompose
from .explicit_pads import ExplicitPads
from .fold_constants import FoldConstants
from .form_kernels import FormKernels
from .trailing_reductions import MergeTrailingReductions


def lowering(keep: Callable[[GraphOp], bool] = lambda op: False) -> tuple[Pass, ...]:
    """The passes for a target; ``keep`` says which composite ops it has kernels for."""
    return (
        Decompose(keep=keep),  # first: everything after it sees simple ops only
        ExplicitPads(),  # so that windows read by plain strides
        MergeTrailingReductions(),
        FoldConstants(decode=True),  # no kernel computes on encoded weights yet
        EliminateDeadCode(),
        FormKernels(),  # last: from here on the level is kernel
    )

"""Merges and removes transposes.

    %a = "mlc.transpose"(%x) <{perm = [1, 0]}>   ->   (uses of %b read %x)
    %b = "mlc.transpose"(%a) <{perm = [1, 0]}>

Two transposes in a row are one with the composed permutation; one that keeps the order is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.rewriter import Rewriter

from ..ir.op import copy_source
from ..ir.ops.shape import TransposeOp
from .contract import Pass, Promise


@dataclass(frozen=True)
class MergeTransposes(Pass):
    """Composes in program order: a chain of any length becomes one transpose or none."""

    name = "merge-transposes"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Composes and removes transposes; what is left unused is dead code."""
        for op in list(module.walk()):
            if isinstance(op, TransposeOp):
                _merge(op)


def _merge(op: TransposeOp) -> None:
    source, perm = op.x, op.perm
    if isinstance(source.owner, TransposeOp):
        inner = source.owner
        source, perm = inner.x, tuple(inner.perm[p] for p in perm)
    if list(perm) == sorted(perm):
        Rewriter.replace_op(op, [], [source])
    elif source is not op.x:
        merged = TransposeOp(source, perm=perm)
        copy_source(op, merged)
        Rewriter.replace_op(op, merged)

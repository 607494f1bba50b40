"""Tables whose rows are looked up become integers of few bits; rows are decoded when found.

%t = "mlc.constant"()                    %q = "mlc.constant"()             [30522, 768] i8
%y = "mlc.gather"(%t, %i)         ->     %t = "mlc.dequantize"(%q, %scale)
                                         %y = "mlc.gather"(%t, %i)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.module import main_function
from ...ir.op import source_of
from ...ir.ops.constant import ConstantOp
from ...ir.ops.index import GatherOp
from ...ir.ops.quant import DequantizeOp
from ...ir.types import is_float, type_of
from ..contract import Pass, Promise
from .grid import Levels
from .layers import placed_before
from .quantize_weights import fitted, stored_scale
from .recipe import Quantize, Recipe, Tables
from .report import Report, Step, sqnr


@dataclass(frozen=True)
class QuantizeTables(Pass):
    """Rounds what the recipe wants rounded of tables, to the nearest level.

    Attributes:
        recipe: Which tables, and how.
        report: Is told about every table.
    """

    name = "quantize-tables"
    promise = Promise.LOSSY
    recipe: Recipe = field(default_factory=Recipe)
    report: Report = field(default_factory=Report)

    def apply(self, module: ModuleOp) -> None:
        """Puts decoded integers in the place of tables."""
        done: dict[tuple[SSAValue, Tables], SSAValue] = {}
        for name, op in tables_of(module):
            if options := self.recipe.tables_of(name):
                key = (op.x, options)
                if key not in done:
                    done[key] = self._quantize(op, name, options)
                op.operands[0] = done[key]

    def _quantize(self, op: GatherOp, name: str, options: Tables) -> SSAValue:
        """The decoded table, placed before its first reader."""
        assert isinstance(op.x.owner, ConstantOp)
        table = op.x.owner.value.array.astype(np.float32)
        levels = Levels(options.bits, symmetric=True)
        width = table.shape[1]
        group = min(options.group, width) or width
        plain = Quantize(options.bits, symmetric=True, method="nearest")
        grids = [
            fitted(plain, levels, table[:, k : k + group].T, None) for k in range(0, width, group)
        ]
        parts = [g.codes(table[:, n * group : (n + 1) * group].T).T for n, g in enumerate(grids)]
        codes, scale = np.concatenate(parts, 1), np.stack([g.scale for g in grids], 1)
        decoded = codes * np.repeat(scale, group, axis=1)[:, :width]
        self.report.add(Step(name, options.text(), f"int{options.bits}", sqnr=sqnr(table, decoded)))
        arrays = codes.astype(np.float32).astype(levels.dtype), stored_scale(scale)
        constants = [placed_before(op, ConstantOp.of(a)) for a in arrays]
        blocks = (1, group) if width % group else None
        return placed_before(op, DequantizeOp(*constants, blocks=blocks, to=type_of(op.x).dtype))


def tables_of(module: ModuleOp) -> list[tuple[str, GatherOp]]:
    """What looks up rows of constant matrices, with the name of the node in the user's model."""
    return [
        (source_of(op) or f"gather_{number}", op)
        for number, op in enumerate(main_function(module).body.block.ops)
        if isinstance(op, GatherOp) and _is_table(op)
    ]


def _is_table(op: GatherOp) -> bool:
    type = type_of(op.x)
    plain = type.rank == 2 and op.axis == 0 and type.is_static and is_float(type.dtype)
    return plain and isinstance(op.x.owner, ConstantOp) and type.size != 0

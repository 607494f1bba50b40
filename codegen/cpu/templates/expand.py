"""Makes the weights that kernels read from smaller ones, when a model is loaded."""

from __future__ import annotations

import numpy as np
from xdsl.dialects import arith, func
from xdsl.dialects.builtin import FunctionType, IndexType, f32, f64, i8, i32
from xdsl.ir import Attribute, Block, Region, SSAValue

from ....ir import loop
from ....ir.types import F32
from ..builder import LoopBuilder
from ..elements import storage_type, to_register
from ..expansion import Codes, Expansion
from ..target import CpuTarget
from .columns import for_columns
from .frame import Code, grain_of
from .linear_map import combination


def expansion_code(expansion: Expansion, name: str, target: CpuTarget) -> Code:
    """A function ``@name(stored…, held, begin, end)``; a task is a row of a panel's matrices.

    What is stored are floats, or codes, scales, and zero points if there are any.
    """
    return _Expand(expansion, name, target).build()


class _Expand:
    def __init__(self, expansion: Expansion, name: str, target: CpuTarget):
        self.expansion, self.name, self.lanes = expansion, name, target.lanes(64)
        self.arguments = [loop.buffer(t) for t in (*_stored(expansion.codes), f32)]
        self.block = Block(arg_types=[*self.arguments, IndexType(), IndexType()])
        *self.sources, self.held, self.begin, self.end = self.block.args
        self.b = LoopBuilder(self.block)

    def build(self) -> Code:
        """The whole function."""
        b, expansion = self.b, self.expansion
        with b.loop(self.begin, self.end) as task:
            rows = b.index(expansion.rows)
            panel, row = self._divided(task, rows)
            zero, stop = b.index(0), b.index(expansion.columns)

            def columns(column: SSAValue, lanes: int) -> None:
                self._columns(panel, row, column, lanes)

            for_columns(b, zero, stop, self.lanes, columns)
        b.add(func.ReturnOp())
        type = FunctionType.from_lists(self.block.arg_types, [])
        function = func.FuncOp(self.name, type, Region(self.block))
        points, parts = len(expansion.matrix), len(expansion.matrix[0])
        cost = points * parts * expansion.columns // self.lanes
        return Code(function, expansion.panels * expansion.rows, grain_of(cost))

    def _columns(self, panel: SSAValue, row: SSAValue, column: SSAValue, lanes: int) -> None:
        """Sums are made in doubles, and rounded once."""
        b, expansion, unit = self.b, self.expansion, [self.b.index(1)] * 2
        single, double = (loop.tile((1, lanes), element) for element in (f32, f64))
        loaded = self._parts(panel, row, column, lanes)
        parts = [b.op(arith.ExtFOp, [value], double) for value in loaded]
        count = len(expansion.matrix)
        targets = self._places(panel, count, expansion.rows, row, column)
        for target, factors in zip(targets, expansion.matrix, strict=True):
            total = combination(b, factors, parts)
            b.store(b.op(arith.TruncFOp, [total], single), self.held, target, unit)

    def _parts(
        self, panel: SSAValue, row: SSAValue, column: SSAValue, lanes: int
    ) -> list[SSAValue]:
        """The parts as floats."""
        expansion, codes = self.expansion, self.expansion.codes
        count = len(expansion.matrix[0])
        if codes is None:
            places = self._places(panel, count, expansion.rows, row, column)
            return [self._load(self.sources[0], place, F32, lanes) for place in places]
        line, turn = self._divided(row, self.b.index(codes.together))
        group, _ = self._divided(row, self.b.index(codes.group))
        rows = -(-expansion.rows // codes.together)
        found = self._codes(codes, self._places(panel, count, rows, line, column), turn, lanes)
        groups = expansion.rows // codes.group
        shared = self._places(panel, codes.parts, groups, group, column)
        scales = [self._load(self.sources[1], place, codes.scale, lanes) for place in shared]
        zeros = self._zeros(codes, shared, lanes)
        each = range(count) if codes.parts == count else [0] * count
        return [self._decoded(c, zeros[n], scales[n]) for c, n in zip(found, each, strict=True)]

    def _codes(
        self, codes: Codes, places: list[SSAValue], turn: SSAValue, lanes: int
    ) -> list[SSAValue]:
        """Codes without a sign, as words."""
        b, words = self.b, loop.tile((1, lanes), i32)
        by = b.mul_index(turn, b.index(codes.bits))
        shift = b.splat(b.op(arith.IndexCastOp, [by], i32), words)
        mask = b.constant((1 << codes.bits) - 1, words)
        loaded = [self._bytes(self.sources[0], place, lanes) for place in places]
        shifted = [b.op(arith.ShRUIOp, [word, shift], words) for word in loaded]
        return [b.op(arith.AndIOp, [word, mask], words) for word in shifted]

    def _zeros(self, codes: Codes, places: list[SSAValue], lanes: int) -> list[SSAValue]:
        """What codes of zero are, likewise."""
        if codes.zeros:
            return [self._bytes(self.sources[2], place, lanes) for place in places]
        return [self.b.constant(-codes.least, loop.tile((1, lanes), i32))] * len(places)

    def _decoded(self, code: SSAValue, zero: SSAValue, scale: SSAValue) -> SSAValue:
        """As it is defined: ``(code - zero) * scale``."""
        whole = self.b.op(arith.SubiOp, [code, zero], code.type)
        value = self.b.op(arith.SIToFPOp, [whole], scale.type)
        return self.b.op(arith.MulfOp, [value, scale], scale.type)

    def _bytes(self, memory: SSAValue, place: SSAValue, lanes: int) -> SSAValue:
        loaded = self.b.load(memory, place, loop.tile((1, lanes), i8), [self.b.index(1)] * 2)
        return self.b.op(arith.ExtUIOp, [loaded], loop.tile((1, lanes), i32))

    def _load(self, memory: SSAValue, place: SSAValue, dtype: np.dtype, lanes: int) -> SSAValue:
        type = loop.tile((1, lanes), storage_type(dtype))
        return to_register(self.b, self.b.load(memory, place, type, [self.b.index(1)] * 2), dtype)

    def _places(
        self, panel: SSAValue, matrices: int, rows: int, row: SSAValue, column: SSAValue
    ) -> list[SSAValue]:
        """Where a column of a row stands in each matrix of a panel."""
        b, columns = self.b, self.expansion.columns
        size = rows * columns
        first = b.mul_index(panel, b.index(matrices * size))
        first = b.add_index(first, b.mul_index(row, b.index(columns)))
        first = b.add_index(first, column)
        return [b.add_index(first, b.index(n * size)) for n in range(matrices)]

    def _divided(self, value: SSAValue, by: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Quotient and rest."""
        quotient, rest = (
            self.b.op(op, [value, by], IndexType()) for op in (arith.DivUIOp, arith.RemUIOp)
        )
        return quotient, rest


def _stored(codes: Codes | None) -> list[Attribute]:
    """The types of elements in the artifact."""
    if codes is None:
        return [f32]
    return [i8, storage_type(codes.scale), *([i8] if codes.zeros else [])]

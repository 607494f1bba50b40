"""The kernel level: graph ops that are computed together, by one piece of code.

A kernel's region holds plain graph ops, so that its meaning is theirs; ``algorithm`` says how it
is computed and ``why`` why so. ``Fused`` reads a region as scalar expressions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from xdsl.ir import Attribute, Block, Dialect, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    region_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import IsTerminator

from . import scalar as s
from .op import GraphOp, Param
from .ops.constant import ConstantOp
from .scalar import Scalar
from .structure import Map
from .types import TensorType


@irdl_op_definition
class KernelOp(IRDLOperation):
    """A kernel: ``%r = "kernel.kernel"(%x) <{algorithm, why}> ({ … kernel.yield })``."""

    name = "kernel.kernel"
    inputs = var_operand_def(TensorType)
    outputs = var_result_def(TensorType)
    body = region_def("single_block")
    algorithm = prop_def(Param)
    why = prop_def(Param)
    choices = opt_prop_def(Param)

    def __init__(
        self, inputs: Sequence[SSAValue], types: Sequence[Attribute], body: Region,
        algorithm: str, why: str = "",
    ):  # fmt: skip
        super().__init__(
            operands=[list(inputs)],
            result_types=[list(types)],
            regions=[body],
            properties={"algorithm": Param(algorithm), "why": Param(why)},
        )

    def chosen(self, name: str) -> tuple[int, ...] | None:
        """What was decided about how it is computed; None leaves it to the template."""
        return self.decided.get(name)

    @property
    def decided(self) -> dict[str, tuple[int, ...]]:
        """All that was decided, by name."""
        entries = self.choices.data if self.choices else ()
        assert isinstance(entries, tuple)
        return {name: tuple(values) for name, *values in entries}

    def choose(self, choices: Mapping[str, Sequence[int]]) -> None:
        """Decides how it is computed."""
        self.properties["choices"] = Param(
            tuple((name, *values) for name, values in choices.items())
        )

    @property
    def block(self) -> Block:
        """The block of the body."""
        return self.body.block

    @property
    def ops(self) -> list[GraphOp]:
        """The graph ops of the body, in order."""
        return [op for op in self.block.ops if isinstance(op, GraphOp)]

    @property
    def yielded(self) -> list[SSAValue]:
        """The values of the body that are the kernel's results."""
        last = self.block.last_op
        return list(last.operands) if last else []


@irdl_op_definition
class YieldOp(IRDLOperation):
    """Ends a kernel's body and names its results."""

    name = "kernel.yield"
    values = var_operand_def(TensorType)
    traits = traits_def(IsTerminator())


class Fused:
    """The values of a kernel's body as expressions of its loads.

    ``stored`` maps the values that lie in a buffer to its number: at first the block's arguments,
    in order; a template adds what it keeps.
    """

    def __init__(self, block: Block):
        self.stored: dict[SSAValue, int] = {a: k for k, a in enumerate(block.args)}
        self._elements: dict[object, Scalar] = {}
        self._kept: list[tuple[Scalar, ...]] = []

    def element(self, value: SSAValue, indices: Sequence[Scalar]) -> Scalar:
        """The element of ``value`` at ``indices``, producers included."""
        key = (value, value in self.stored, tuple(_key(i) for i in indices))
        if key not in self._elements:
            self._elements[key] = self._element(value, tuple(indices))
            self._kept.append(tuple(indices))  # their ids are in the key
        return self._elements[key]

    def inline(self, node: Scalar, op: GraphOp, known: Sequence[Scalar] = ()) -> Scalar:
        """``node``, an expression over the operands of ``op``, over the kernel's buffers.

        ``known`` are parts of it that are that already.
        """
        return _Inliner(self, op, known).visit(node)

    def _element(self, value: SSAValue, indices: tuple[Scalar, ...]) -> Scalar:
        assert isinstance(value.type, TensorType)
        if value in self.stored:
            return s.load(self.stored[value], indices, value.type.dtype)
        op = value.owner
        assert isinstance(op, GraphOp)
        if isinstance(op, ConstantOp):
            return s.const(np.asarray(op.value.array).reshape(-1)[0].item(), value.type.dtype)
        structure = op.structure()
        assert isinstance(structure, Map), f"{op.name} cannot be computed by element"
        return self.inline(structure.body(indices), op, indices)


class _Inliner:
    def __init__(self, fused: Fused, op: GraphOp, known: Sequence[Scalar]):
        self.fused = fused
        self.op = op
        self._done = {id(node): node for node in known}

    def visit(self, node: Scalar) -> Scalar:
        if id(node) not in self._done:
            self._done[id(node)] = self._rebuild(node)
        return self._done[id(node)]

    def _rebuild(self, node: Scalar) -> Scalar:
        args = tuple(self.visit(a) for a in node.args)
        if node.op == "load" and node.attr >= 0:
            return self.fused.element(self.op.operands[node.attr], args)
        if all(a is b for a, b in zip(args, node.args, strict=True)):
            return node
        return Scalar(node.op, args, node.dtype, node.attr)


def is_immediate(value: SSAValue) -> bool:
    """Whether ``value`` is a constant of one element: it is written into the code."""
    return isinstance(value.owner, ConstantOp) and value.owner.value.type.size == 1


def _key(index: Scalar) -> object:
    return (index.op, index.attr) if index.op in ("const", "axis", "size") else id(index)


Kernel = Dialect("kernel", [KernelOp, YieldOp])

"""Cuts the graph into kernels: what is computed together, by one piece of code.

    %c = "mlc.matmul"(%x, %w)         %r = "kernel.kernel"(%x, %w, %b) ({
    %d = "mlc.add"(%c, %b)       ->     … matmul, add, relu …
    %r = "mlc.relu"(%d)                 kernel.yield })

Four kinds of group grow along the order of the program. A *root* group holds one reduction, and
the elementwise ops of its shape that follow it. A *row* group holds Maps of one shape, and
reductions along its last dim. An *attention* draws in the transposes around it, and what appends
keys and values to those of the past. A *single* op stays alone, but for slices that it joins. Ops
that only move elements may be drawn into the group that reads them. Views stay outside: they rename
memory. So do ops with regions, whose blocks are cut by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import networkx
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue

from ..ir.affine import IndexSpace
from ..ir.dims import Shape
from ..ir.kernel import KernelOp, YieldOp, is_immediate
from ..ir.late import mentioned
from ..ir.levels import Level
from ..ir.module import main_function
from ..ir.op import GraphOp
from ..ir.ops.attention import AttentionOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.control import RegionOp, blocks_of
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.quant import DequantizeOp
from ..ir.ops.reduce import ReduceOp
from ..ir.ops.select import late_symbols
from ..ir.ops.shape import BroadcastOp, ConcatOp, PadOp, SliceOp, TransposeOp
from ..ir.ops.sort import ArgReduceOp
from ..ir.scalar import Scalar, nodes_of
from ..ir.structure import Contraction, Map, Reduce, Special, View, body_of
from ..ir.types import type_of
from .contract import Pass, Promise
from .values import is_constant

_THIN = 8
_SHALLOW = 4
_MOVES = (TransposeOp, SliceOp, BroadcastOp)


@dataclass(frozen=True)
class FormKernels(Pass):
    """Every op that computes ends up in exactly one kernel.

    ``appends`` says which attentions append new keys and values to those of the past themselves.
    """

    name = "form-kernels"
    promise = Promise.EXACT
    gives = Level.KERNEL

    appends: Callable[[GraphOp], bool] = lambda op: False

    def apply(self, module: ModuleOp) -> None:
        """Groups the ops of each block, and wraps each group."""
        for block in blocks_of(main_function(module)):
            grouping = _Grouping(self.appends)
            for op in block.ops:
                if _computes(op):
                    grouping.place(op)
            _rebuild(block, grouping)


@dataclass(eq=False)
class Group:
    """Ops to be computed together.

    Attributes:
        kind: ``root``, ``row``, ``attention`` or ``single``.
        shape: The shape of the space it is computed over.
        ops: In program order.
        moves: Whether all ops only move elements.
    """

    kind: str
    shape: Shape
    ops: list[GraphOp] = field(default_factory=list)
    moves: bool = False


class _Grouping:
    def __init__(self, appends: Callable[[GraphOp], bool]) -> None:
        self.appends = appends
        self.of: dict[Operation, Group] = {}
        self.before: dict[Group, set[Group]] = {}

    @property
    def groups(self) -> list[Group]:
        """All groups, each after those it reads from."""
        graph = networkx.DiGraph()
        graph.add_nodes_from(self.before)
        graph.add_edges_from((b, g) for g, bs in self.before.items() for b in bs)
        order = {g: n for n, g in enumerate(self.before)}
        return list(networkx.lexicographical_topological_sort(graph, key=order.__getitem__))

    def place(self, op: GraphOp) -> None:
        """Puts an op into the group of an operand, or into a new one."""
        group = self._fitting(op) or self._open(op)
        self._join(op, group)
        for value in op.operands:
            other = self.producer(value)
            if not other or other is group:
                continue
            if self._mergeable(op, value, group, other):
                self._merge(other, group)
            elif _decodes_for(op, value, group):
                self._take(value, other, group)

    def producer(self, value: SSAValue) -> Group | None:
        """The group that computes a value, seen through views."""
        owner = value.owner
        while isinstance(owner, GraphOp) and owner not in self.of and owner.operands:
            owner = owner.operands[0].owner
        return self.of.get(owner) if isinstance(owner, Operation) else None

    def _fitting(self, op: GraphOp) -> Group | None:
        candidates = {self.of[v.owner]: None for v in op.operands if v.owner in self.of}
        ranked = sorted(candidates, key=lambda g: g.kind != "root")
        return next((g for g in ranked if self._fits(op, g)), None)

    def _fits(self, op: GraphOp, group: Group) -> bool:
        if not _follows(op, group):
            return False
        others = {self.producer(v) for v in op.operands} - {group, None}
        return not any(o is not None and self._reaches(group, o) for o in others)

    def _open(self, op: GraphOp) -> Group:
        group = Group(_kind(op), _space(op), moves=isinstance(op, _MOVES))
        self.before[group] = set()
        return group

    def _join(self, op: GraphOp, group: Group) -> None:
        group.ops.append(op)
        group.moves = group.moves and isinstance(op, _MOVES)
        self.of[op] = group
        self.before[group] |= {g for v in op.operands if (g := self.producer(v))} - {group}

    def _mergeable(self, op: GraphOp, value: SSAValue, group: Group, other: Group) -> bool:
        """Whether ``other``, which computes ``value`` for ``op``, may become part of ``group``."""
        if value.owner not in self.of:
            return False
        if isinstance(op, ConcatOp):
            alone = len(other.ops) == 1 and value.has_one_use()
            return alone and _is_run(op, value) and not self._around(other, group)
        if other.moves and group.kind != "single" and len(list(value.uses)) == 1:
            alone = len(other.ops) == 1 or all(len(list(o.results[0].uses)) == 1 for o in other.ops)
            return alone and _reads_straight(op, value) and not self._around(other, group)
        if isinstance(op, AttentionOp) and value in op.operands[1:3] and self.appends(op):
            caches = [self.producer(v) for v in op.operands[1:3]]
            return not any(c and self._around(c, group) for c in caches)
        same = other.kind == group.kind == "row" and other.shape == group.shape
        return same and _reads_in_place(op, other) and not self._around(other, group)

    def _around(self, first: Group, second: Group) -> bool:
        """Whether a third group lies on a path between two."""
        return any(self._reaches(first, g) for g in self.before[second] if g is not first) or any(
            self._reaches(second, g) for g in self.before[first] if g is not second
        )

    def _merge(self, source: Group, target: Group) -> None:
        target.ops = source.ops + target.ops
        self.of.update(dict.fromkeys(source.ops, target))
        self.before[target] = (self.before[target] | self.before.pop(source)) - {source, target}
        for befores in self.before.values():
            if source in befores:
                befores.remove(source)
                befores.add(target)
        self.before[target].discard(target)

    def _take(self, value: SSAValue, source: Group, target: Group) -> None:
        """Decodes where it is read, so that codes are stored, not what they stand for."""
        decode = value.owner
        assert isinstance(decode, DequantizeOp)
        source.ops.remove(decode)
        target.ops.insert(0, decode)
        self.of[decode] = target
        if source.ops:
            self.before[target].add(source)
            return
        self.before[target] |= self.before.pop(source)
        for befores in self.before.values():
            befores.discard(source)

    def _reaches(self, source: Group, target: Group) -> bool:
        """Whether ``target`` is or needs ``source``."""
        seen, waiting = {target}, [target]
        while waiting:
            group = waiting.pop()
            if group is source:
                return True
            fresh = self.before[group] - seen
            seen |= fresh
            waiting += fresh
        return False


def _decodes_for(op: GraphOp, value: SSAValue, group: Group) -> bool:
    """Whether ``value`` is decoded for ``op`` alone, which can do that itself."""
    if not isinstance(value.owner, DequantizeOp) or not value.has_one_use():
        return False
    if isinstance(value.owner.x.owner, ConstantOp):
        return isinstance(op.structure(), Contraction)
    if group.kind == "row" or isinstance(op.structure(), Map):
        return group.kind != "single" and type_of(value).shape == type_of(op.operands[0]).shape
    return group.kind == "root" and not isinstance(op.structure(), Contraction)


def _computes(op: Operation) -> bool:
    if not isinstance(op, GraphOp) or isinstance(op, ConstantOp):
        return False
    return not isinstance(op.structure(), View)


def _kind(op: GraphOp) -> str:
    if isinstance(op, AttentionOp):
        return "attention"
    structure = op.structure()
    if isinstance(op, ConcatOp) or _fills(op) or not isinstance(structure, Map | Reduce):
        return "single"
    return "root" if isinstance(structure, Reduce) and not _by_row(op) else "row"


def _fills(op: GraphOp) -> bool:
    """Whether an op pads with a constant."""
    return isinstance(op, PadOp) and op.mode == "constant"


def _by_row(op: GraphOp) -> bool:
    """Whether an op reduces the last dim alone."""
    axes = _reduced_axes(op)
    return bool(axes) and axes == (type_of(op.operands[0]).rank - 1,)


def _reduced_axes(op: GraphOp) -> tuple[int, ...]:
    if isinstance(op, ArgReduceOp) and isinstance(op.structure(), Reduce):
        return (op.axis,)
    return tuple(op.axes) if isinstance(op, ReduceOp) else ()


def _space(op: GraphOp) -> Shape:
    return type_of(op.operands[0]).shape if _by_row(op) else type_of(op.results[0]).shape


def _follows(op: GraphOp, group: Group) -> bool:
    """Whether ``op`` reads the group's values where the group computes them."""
    if group.kind == "single":
        return False
    if group.kind == "attention":
        return _turns_result(op, group)
    if _by_row(op):
        return group.kind == "row" and type_of(op.operands[0]).shape == group.shape
    if _kind(op) != "row" or not isinstance(op.structure(), Map):
        return False
    shape = type_of(op.results[0]).shape
    if shape == group.shape:
        return _reads_in_place(op, group)
    narrow = group.kind == "row" and shape == (*group.shape[:-1], 1)
    return narrow and _holds_reduction(group) and _reads_in_place(op, group)


def _turns_result(op: GraphOp, group: Group) -> bool:
    """Whether ``op`` is the transpose that alone reads an attention, its features staying last."""
    last = group.ops[-1]
    if not isinstance(op, TransposeOp) or not isinstance(last, AttentionOp):
        return False
    return op.perm[-1] == 3 and len(list(last.result.uses)) == 1


def _holds_reduction(group: Group) -> bool:
    return any(_by_row(op) for op in group.ops)


def _reads_in_place(op: GraphOp, group: Group) -> bool:
    """Whether every load of a value of ``group`` is at the index that is being computed."""
    if _by_row(op):
        return True
    members = {o.results[0] for o in group.ops}
    return all(
        _is_identity(load.args, type_of(op.operands[load.attr]).shape)
        for load in _loads(op)
        if op.operands[load.attr] in members
    )


def _is_identity(indices: Sequence[Scalar], shape: Shape) -> bool:
    return all(
        (i.op == "axis" and i.attr == n) or (d == 1 and i.op == "const")
        for n, (i, d) in enumerate(zip(indices, shape, strict=True))
    )


def _reads_straight(op: GraphOp, value: SSAValue) -> bool:
    """Whether ``op`` still reads by strides when the moves that make ``value`` are drawn in.

    Along the last dim of the result neighbours must read the same element, or neighbours. The left
    factor of a product, and the right one of a thin product, must have neighbours along the depth,
    unless that is short, as in the channels of a picture.
    """
    if isinstance(op, AttentionOp):
        return _keeps_features(op, value)
    shape = type_of(op.results[0]).shape
    structure = op.structure()
    extents = structure.extents if isinstance(structure, Reduce) else ()
    space = IndexSpace((*shape, *extents))
    source, indices = value, None
    for load in _loads(op):
        if op.operands[load.attr] is value:
            if indices is not None:
                return False
            indices = load.args
    while indices is not None and isinstance(source.owner, _MOVES):
        move = source.owner.structure().body(tuple(indices))
        source, indices = source.owner.x, move.args
    if indices is None:
        return False
    form = space.position(indices, type_of(source).shape)
    if form.rest:
        return False
    if not shape:
        return True
    last, depth = form.coefficient(len(shape) - 1), form.coefficient(len(space.extents) - 1)
    if isinstance(structure, Contraction) and last == 0:
        return depth in (0, 1) or (isinstance(extents[-1], int) and extents[-1] <= _SHALLOW)
    return last in (0, 1) or (depth == 1 and (_is_thin(op) or _multiplies_codes(op)))


def _multiplies_codes(op: GraphOp) -> bool:
    """Whether a product of integers has its right factor laid out when it runs."""
    return isinstance(op, MatmulOp) and op.to is not None and not is_constant(op.y)


def _is_thin(op: GraphOp) -> bool:
    """Whether a matrix product has so few rows that its right side is read about once."""
    rows = type_of(op.results[0]).shape[-2] if isinstance(op, MatmulOp) else None
    return isinstance(rows, int) and rows <= _THIN


def _is_run(op: ConcatOp, value: SSAValue) -> bool:
    """Whether an operand of a concatenation is a slice along its axis, of neighbours."""
    cut = value.owner
    if not isinstance(cut, SliceOp) or any(step != 1 for step in cut.steps):
        return False
    shapes = type_of(cut.x).shape, type_of(value).shape
    return all(a == b for n, (a, b) in enumerate(zip(*shapes, strict=True)) if n != op.axis)


def _keeps_features(op: AttentionOp, value: SSAValue) -> bool:
    """Whether an operand of attention is transposed; the features of queries must stay last."""
    if not isinstance(value.owner, TransposeOp) or isinstance(value.owner.x.owner, TransposeOp):
        return False
    return value in op.operands[1:3] or (value is op.q and value.owner.perm[-1] == 3)


def _loads(op: GraphOp) -> Iterator[Scalar]:
    structure = op.structure()
    if isinstance(structure, Map | Reduce):
        body = body_of(structure, type_of(op.results[0]).rank)
        yield from (n for n in nodes_of(body) if n.op == "load")


def _rebuild(block: Block, grouping: _Grouping) -> None:
    """Replaces each group by a kernel at the place of its last op."""
    for group in grouping.groups:
        if not isinstance(group.ops[0], RegionOp):
            _wrap(group)
    _sort(block)


def _wrap(group: Group) -> None:
    members = set(group.ops)
    inputs = dict.fromkeys(
        v
        for op in group.ops
        for v in op.operands
        if v.owner not in members and not (is_immediate(v) and _is_expression(op))
    )
    results = [
        r
        for op in group.ops
        for r in op.results
        if any(use.operation not in members for use in r.uses)
    ]
    body = Block(arg_types=[v.type for v in inputs])
    last = group.ops[-1]
    kernel = KernelOp(list(inputs), [r.type for r in results], Region(body), algorithm(group))
    kernel.location = last.location
    assert last.parent is not None
    last.parent.insert_op_after(kernel, last)
    inside: dict[SSAValue, SSAValue] = dict(zip(inputs, body.args, strict=True))
    for old, new in zip(results, kernel.results, strict=True):
        old.replace_uses_with_if(new, lambda use: use.operation not in members)
    for op in group.ops:
        op.detach()
        for n, value in enumerate(op.operands):
            if value.owner not in members:
                if value not in inside:
                    inside[value] = _copy(value, body)
                op.operands[n] = inside[value]
        body.add_op(op)
    body.add_op(YieldOp(operands=[results]))


def _is_expression(op: GraphOp) -> bool:
    """Whether an op's element is one, so that constants can be written into it."""
    return not isinstance(op.structure(), Special)


def _copy(value: SSAValue, body: Block) -> SSAValue:
    assert isinstance(value.owner, ConstantOp)
    constant = value.owner.clone()
    body.add_op(constant)
    return constant.results[0]


def algorithm(group: Group) -> str:
    """How the group will be computed, as far as its ops decide that."""
    if group.kind == "attention":
        return "attention"
    if group.kind == "root":
        roots = [op for op in group.ops if isinstance(op.structure(), Contraction)]
        return "contraction" if roots else "reduction"
    if group.kind == "single":
        op, structure = group.ops[-1], group.ops[-1].structure()
        return structure.name if isinstance(structure, Special) else op.name.removeprefix("mlc.")
    return "row"


def _sort(block: Block) -> None:
    """Puts every op after those it reads from, keeping the order where that allows.

    An op also comes after those that find out the symbols it mentions.
    """
    ops = list(block.ops)
    order = {op: n for n, op in enumerate(ops)}
    graph = networkx.DiGraph()
    graph.add_nodes_from(ops)
    graph.add_edges_from(
        (v.owner, op) for op in ops for v in op.operands if isinstance(v.owner, Operation)
    )
    late = {name: op for op in ops for name in late_symbols(op.walk())}
    graph.add_edges_from(
        (late[name], op) for op in ops for name in mentioned(op, late) if late[name] is not op
    )
    graph.add_edges_from((op, ops[-1]) for op in ops[:-1])
    for op in networkx.lexicographical_topological_sort(graph, key=order.__getitem__):
        op.detach()
        block.add_op(op)

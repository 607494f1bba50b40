"""Prints scalar expressions as Triton: for a tile of elements at once, with masks where it ends.

Axes are texts that broadcast against each other: ``m[:, None]``, ``n[None, :]``, a number. A value
has the shape of what it varies with, so that what is the same along an axis is computed once. A
load is masked by the axes that may run past their ends, and by the conditions under which its
element exists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...ir.affine import Affine, IndexSpace
from ...ir.dims import Dim
from ...ir.scalar import COMPARE, Number, Scalar, nodes_of
from ...ir.types import BOOL, I64, bit_width, is_float
from .arithmetic import apply, negated
from .bounds import always, inside, is_index, never_negative
from .elements import (
    from_memory,
    is_literal,
    is_minifloat,
    literal,
    memory_type,
    register_type,
    rounded,
    to,
    to_memory,
)
from .frame import Buffer, Frame, dim_text, plain

_LONG = 60
_LONGEST = 1 << 31


@dataclass
class Scope:
    """What an expression may name.

    Attributes:
        frame: Where code goes.
        space: The extents of the axes.
        axes: The text of each axis.
        masks: For an axis that may run past its end, where it does not.
        registers: Values by load number, for what is at hand at the current position.
        flat: The text of the row-major position of all axes, where there is one.
        lanes: An index with the shape of a value that is stored where no axis leads to.
    """

    frame: Frame
    space: IndexSpace
    axes: Mapping[int, str]
    masks: Mapping[int, str] = field(default_factory=dict)
    registers: Mapping[int, str] = field(default_factory=dict)
    flat: str = ""
    lanes: str = ""


class Printer:
    """Prints expressions in one scope; a node used twice is computed once."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.frame, self.space = scope.frame, scope.space
        self._known: dict[object, str] = {}
        self._kept: list[Scalar] = []
        self._uses: Counter[int] = Counter()
        self._guards: tuple[str, ...] = ()
        self._missing: dict[int, bool] = {}

    def value(self, node: Scalar) -> str:
        """The text of an expression's value: a name, a literal, or in parentheses."""
        fresh = [n for n in nodes_of(node) if id(n) not in self._uses]
        self._uses.update(id(a) for n in fresh for a in n.args)
        self._uses[id(node)] += 1
        return self._value(node)

    def named(self, node: Scalar) -> str:
        """The same, with a name, so that what is needed again later is there."""
        text = self.value(node)
        if not is_literal(text) and not text.isidentifier():
            text = self._known[self._key(node)] = self.frame.bind(text)
        return text

    def factor(self, node: Scalar, type: str) -> str:
        """A value in the type of a product's factor; what is loaded in it is not widened before."""
        if node.op == "cast" and memory_type(node.args[0].dtype) == type:
            (node,) = node.args
        load = self._masked_load(node)
        if load is None or bit_width(load.dtype) < 8 or load.dtype == BOOL:
            text = self.value(node)
            return text if register_type(node.dtype) == type else to(text, type)
        if node is not load:
            self._guards = (self.value(node.args[0]),)
        text = self._loaded(load, _outside(node))
        self._guards = ()
        same = type == memory_type(load.dtype) or not is_float(load.dtype)
        return text if same else to(text, type)

    def is_zero_outside(self, node: Scalar) -> bool:
        """Whether an expression is a load, or one where it has an element, and 0 elsewhere."""
        return self._masked_load(node) is not None and _outside(node) == 0

    def _masked_load(self, node: Scalar) -> Scalar | None:
        """The load of an expression that is one, or one with a constant where it may miss."""
        guarded = node.op == "select" and node.args[2].op == "const"
        inner = node.args[1] if guarded and not always(self.space, node.args[0]) else node
        if inner.op != "load" or inner.attr in self.scope.registers:
            return None
        return inner if inner is node or self._may_miss(inner) else None

    def store(self, node: Scalar, value: str, indices: Sequence[Scalar], buffer: Buffer) -> None:
        """Writes a value to ``indices`` of a buffer; ``node`` says which axes it varies with."""
        form = self.space.position(indices, buffer.shape)
        masks = self._masks([*indices, node])
        mask = f", mask={_all(masks)}" if masks else ""
        place = self._place(form, buffer)
        if self.scope.lanes and all(self.scope.axes[a] == "0" for a in form.coefficients):
            place = f"({place} + 0 * {self.scope.lanes})"
        element = _stored(value, node, buffer)
        self.frame.line(f"tl.store({buffer.name} + {place}, {plain(element)}{mask})")

    def _value(self, node: Scalar) -> str:
        known = self._found(node)
        if known is not None:
            return known
        text = self._text(node)
        if not is_literal(text) and (self._uses[id(node)] > 1 or len(text) > _LONG):
            text = text if text.isidentifier() else self.frame.bind(text)
        self._known[self._key(node)] = text
        self._kept.append(node)
        return text

    def _found(self, node: Scalar) -> str | None:
        """What was printed already, where no more was asked for than is now."""
        weaker = (self._guards[:n] for n in range(len(self._guards) + 1))
        found = (self._known.get((id(node), guards)) for guards in weaker)
        return next((text for text in found if text is not None), None)

    def _key(self, node: Scalar) -> object:
        return id(node), self._guards if self._may_miss_below(node) else ()

    def _text(self, node: Scalar) -> str:
        match node.op:
            case "const":
                return literal(node.attr, node.dtype)
            case "axis":
                return self.scope.axes[node.attr]
            case "size":
                return dim_text(node.attr)
            case "load":
                return self._load(node)
            case "select":
                return self._select(node)
            case "cast":
                return self._cast(node)
            case "bitcast":
                return self._bitcast(node)
            case _:
                return self._operation(node)

    def _operation(self, node: Scalar) -> str:
        if node.op == "and" and node.dtype == BOOL:
            doubtful = [a for a in node.args if not always(self.space, a)]
            if len(doubtful) < 2:
                return self._value((*doubtful, node.args[0])[0])
        if node.dtype == I64 and is_index(self.space, node):
            form = self.space.affine(node)
            if not form.rest:
                return self._sum(form)
        operands = [self._value(a) for a in node.args]
        if is_index(self.space, node):
            if node.op in ("floordiv", "mod") and never_negative(self.space, node.args[0]):
                return f"({operands[0]} {'//' if node.op == 'floordiv' else '%'} {operands[1]})"
        elif node.dtype == I64 and is_index(self.space, node.args[0]):
            operands[0] = to(operands[0], "tl.int64")
        if all(is_literal(o) for o in operands) and node.op not in COMPARE:
            operands[0] = to(operands[0], register_type(node.args[0].dtype))
        text = apply(node, operands)
        return rounded(text, node.dtype) if is_minifloat(node.dtype) else text

    def _load(self, node: Scalar) -> str:
        if node.attr in self.scope.registers:
            return self.scope.registers[node.attr]
        return self.frame.bind(from_memory(self._loaded(node), node.dtype))

    def _loaded(self, node: Scalar, outside: Number = 0) -> str:
        """A load, of what is in memory; ``outside`` where there is nothing."""
        buffer = self.frame.buffers[node.attr]
        form = self.space.position(node.args, buffer.shape)
        place = self._place(form, buffer)
        masks = self._masks(node.args)
        if self._may_miss(node):
            masks += [g for g in self._guards if g not in masks]
        other = literal(outside, buffer.dtype)
        mask = f", mask={_all(masks)}, other={other}" if masks else ""
        return f"tl.load({buffer.name} + {place}{mask})"

    def _masks(self, indices: Sequence[Scalar]) -> list[str]:
        """The masks of all axes that occur in expressions."""
        axes = self._axes(indices)
        return list(dict.fromkeys(m for a, m in self.scope.masks.items() if a in axes))

    def _axes(self, nodes: Iterable[Scalar]) -> set[int]:
        """The axes in expressions; what is at hand in a register was computed before."""
        axes: set[int] = set()
        waiting, seen = list(nodes), set()
        while waiting:
            node = waiting.pop()
            if node.op == "axis":
                axes.add(node.attr)
            at_hand = node.op == "load" and node.attr in self.scope.registers
            below = [] if at_hand else [a for a in node.args if id(a) not in seen]
            seen.update(id(a) for a in below)
            waiting += below
        return axes

    def _place(self, form: Affine, buffer: Buffer) -> str:
        """A position in a buffer."""
        if self.scope.flat and form == self._flat_form():
            return self.scope.flat
        return self._sum(form)

    def _sum(self, form: Affine) -> str:
        """An affine form: the longest strides first, what is constant last."""
        ordered = sorted(form.coefficients.items(), key=lambda c: (-_weight(c[1]), c[0]))
        terms = [_times(self.scope.axes[a], f) for a, f in ordered if self.scope.axes[a] != "0"]
        terms += [_times(self._value(value), factor) for value, factor in form.rest]
        if form.constant != 0 or not terms:
            terms.append(dim_text(form.constant))
        text = " + ".join(terms).replace("+ -", "- ")
        alone = len(terms) == 1 and (text.isidentifier() or is_literal(text))
        return text if alone else f"({text})"

    def _flat_form(self) -> Affine:
        extents = self.space.extents
        axes = [Scalar("axis", (), I64, n) for n in range(len(extents))]
        return self.space.position(axes, extents)

    def _select(self, node: Scalar) -> str:
        condition, then, other = node.args
        if always(self.space, condition):
            return self._value(then)
        load = self._masked_load(node)
        test = self._value(condition)
        if load is not None and load is not node and _is_byte(load.dtype):
            return self._load_guarded(load, test, other.attr)
        yes = self._guarded(then, test)
        no = self._guarded(other, self._negated(condition, test))
        if is_literal(yes) and is_literal(no):
            yes = to(yes, register_type(node.dtype))
        return f"tl.where({plain(test)}, {plain(yes)}, {plain(no)})"

    def _load_guarded(self, load: Scalar, test: str, other: Number) -> str:
        """A load of what is there, and a constant elsewhere."""
        outside = self._guards
        self._guards = (*outside, test)
        text = self._loaded(load, other)
        self._guards = outside
        return self.frame.bind(from_memory(text, load.dtype))

    def _negated(self, condition: Scalar, test: str) -> str:
        """Where a condition does not hold."""
        if condition.op in COMPARE and not is_float(condition.args[0].dtype):
            return negated(condition, [self._value(a) for a in condition.args])
        return f"({test} == 0)"

    def _guarded(self, node: Scalar, guard: str) -> str:
        if not self._may_miss_below(node):
            return self._value(node)
        outside = self._guards
        self._guards = (*outside, guard)
        text = self._value(node)
        self._guards = outside
        return text

    def _may_miss_below(self, node: Scalar) -> bool:
        """Whether a load in an expression may have no element."""
        if id(node) not in self._missing:
            below = [self._may_miss_below(a) for a in node.args]
            self._missing[id(node)] = self._may_miss(node) or any(below)
            self._kept.append(node)
        return self._missing[id(node)]

    def _may_miss(self, node: Scalar) -> bool:
        if node.op != "load" or node.attr in self.scope.registers:
            return False
        shape = self.frame.buffers[node.attr].shape
        return not all(inside(self.space, i, d) for i, d in zip(node.args, shape, strict=True))

    def _cast(self, node: Scalar) -> str:
        (source,) = node.args
        if source.op == "const":
            return literal(np.asarray(source.attr).astype(node.dtype).item(), node.dtype)
        text = self._value(source)
        if node.dtype == BOOL:
            return f"({text} != 0)"
        if is_minifloat(node.dtype):
            return rounded(text, node.dtype)
        alike = is_float(source.dtype) and register_type(source.dtype) == register_type(node.dtype)
        return text if alike else to(text, register_type(node.dtype))

    def _bitcast(self, node: Scalar) -> str:
        (source,) = node.args
        bits = to_memory(self._value(source), source.dtype)
        turned = f"{bits}.to({memory_type(node.dtype)}, bitcast=True)"
        return from_memory(turned, node.dtype)


def _is_byte(dtype: np.dtype) -> bool:
    """Whether elements are in memory as they are in registers, or narrow floats."""
    return dtype != BOOL and bit_width(dtype) >= 8


def _stored(value: str, node: Scalar, buffer: Buffer) -> str:
    """A value as it is stored: converted where registers hold another type."""
    same = register_type(node.dtype) == memory_type(buffer.dtype) and node.dtype != I64
    return value if same and not is_literal(value) else to_memory(value, buffer.dtype)


def _outside(node: Scalar) -> Number:
    """The constant that a guarded load has where there is no element."""
    return node.args[2].attr if node.op == "select" else 0


def _all(masks: Sequence[str]) -> str:
    return plain(masks[0]) if len(masks) == 1 else " & ".join(masks)


def _times(text: str, factor: Dim) -> str:
    return text if factor == 1 else f"{text} * {dim_text(factor)}"


def _weight(factor: Dim) -> int:
    """A stride for ordering: those of unknown size are long."""
    return factor if isinstance(factor, int) else _LONGEST

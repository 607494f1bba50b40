"""Lowers a scalar expression to loop-level arithmetic, for one element or a tile of them.

What does not vary over the tile is computed once, as a scalar. A load whose position moves by one
from lane to lane is a vector load; any other is a gather. Both sides of a ``select`` that reads
where it might not be allowed to become branches, so that a guarded load never leaves its buffer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import IndexType, VectorType, i32
from xdsl.ir import Attribute, SSAValue

from ...ir import loop
from ...ir.affine import Affine, IndexSpace
from ...ir.dims import Dim, Shape
from ...ir.errors import TargetError
from ...ir.scalar import Scalar, nodes_of
from ...ir.types import is_signed
from . import arithmetic
from .builder import LoopBuilder, element_of, like
from .dimensions import lower_dim
from .elements import compute_type, constant, convert, is_tile, storage_type, to_register
from .patterns import code_of, codes_of, decoded, gated, is_nearest, multiply_add
from .uniform import Uniform, is_uniform
from .vector_math import expand


@dataclass(frozen=True)
class Buffer:
    """Where a tensor lies: a flat buffer in row-major order, from ``start`` on."""

    memory: SSAValue
    shape: Shape
    start: SSAValue | None = None


@dataclass
class Scope:
    """What an expression may name.

    Attributes:
        builder: Where code goes.
        space: The extents of the axes.
        axes: The value of each axis; of a tile's axes, at its first element.
        buffers: Memory by load number.
        symbols: The values of symbolic dims.
        registers: Values by load number, for what is at hand at the current position.
        tile: The axes that a tile extends along, outermost first, with its size along each.
        uniform: Where the function begins, if code may be put there.
    """

    builder: LoopBuilder
    space: IndexSpace
    axes: Mapping[int, SSAValue]
    buffers: Mapping[int, Buffer]
    symbols: Mapping[str, SSAValue]
    registers: Mapping[int, SSAValue] = field(default_factory=dict)
    tile: tuple[tuple[int, int], ...] = ()
    uniform: Uniform | None = None

    def dim(self, dim: Dim) -> SSAValue:
        """The value of a dimension."""
        return lower_dim(self.builder, dim, self.symbols)

    def tile_type(self, element: Attribute) -> Attribute:
        """The type of a value that varies over the tile."""
        return VectorType(element, [n for _, n in self.tile]) if self.tile else element


class ExpressionLowering:
    """Lowers expressions in one scope; a node used twice is computed once."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.b = scope.builder
        self._known: dict[int, SSAValue] = {}
        self._varying: dict[int, bool] = {}
        self._kept: list[Scalar] = []

    def tile(self, node: Scalar) -> SSAValue:
        """The value of ``node`` in every element of the tile."""
        value = self.lower(node)
        return self.b.splat(value, self.scope.tile_type(element_of(value.type)))

    def lower(self, node: Scalar) -> SSAValue:
        """The value of ``node``: a tile where it varies over the tile, else a scalar."""
        if id(node) not in self._known:
            self._known[id(node)] = self._once(node) or self._lower(node)
            self._kept.append(node)
        return self._known[id(node)]

    def position(self, indices: Sequence[Scalar], buffer: Buffer) -> SSAValue:
        """The position in ``buffer`` of ``indices``, at the first element of the tile."""
        return self._place(self.scope.space.position(indices, buffer.shape), buffer)

    def store(self, value: SSAValue, indices: Sequence[Scalar], buffer: Buffer) -> None:
        """Writes the tile to ``indices``, which are contiguous along the last tile axis."""
        form = self.scope.space.position(indices, buffer.shape)
        strides = [self.scope.dim(form.coefficient(axis)) for axis, _ in self.scope.tile]
        self.b.store(value, buffer.memory, self._place(form, buffer), strides)

    def varies(self, node: Scalar) -> bool:
        """Whether ``node`` differs between elements of the tile."""
        if not self.scope.tile:
            return False
        if id(node) not in self._varying:
            self._varying[id(node)] = self._differs(node)
            self._kept.append(node)
        return self._varying[id(node)]

    def _differs(self, node: Scalar) -> bool:
        if node.op == "axis":
            return any(node.attr == axis for axis, _ in self.scope.tile)
        if node.op == "load" and node.attr in self.scope.registers:
            return is_tile(self.scope.registers[node.attr])
        return any(self.varies(a) for a in node.args)

    def _once(self, node: Scalar) -> SSAValue | None:
        """A value that is the same everywhere, from where it is kept."""
        uniform = self.scope.uniform
        if uniform is None or not is_uniform(node, self.scope.buffers):
            return None
        place = uniform.place(node)
        if place is None:
            scope = replace(self.scope, builder=uniform.b, tile=(), uniform=None)
            place = uniform.keep(node, ExpressionLowering(scope).lower(node))
        return self.b.load(place, self.b.index(0), compute_type(node.dtype))

    def _lower(self, node: Scalar) -> SSAValue:
        code = decoded(node)
        if code is not None:
            return self._shifted(*code)
        match node.op:
            case "const":
                return constant(self.b, node.attr, node.dtype)
            case "axis":
                return self._axis(node.attr)
            case "size":
                return self.scope.dim(node.attr)
            case "load":
                return self._load(node)
            case "select":
                return self._select(node)
            case "cast":
                return self._cast(node)
            case "bitcast":
                source = self.lower(node.args[0])
                type = like(source.type, compute_type(node.dtype))
                return self.b.op(arith.BitcastOp, [source], type)
            case _:
                return self._arithmetic(node)

    def _cast(self, node: Scalar) -> SSAValue:
        (source,) = node.args
        if is_nearest(node):
            value = self.lower(source.args[0])
            return self.b.op(loop.NearestOp, [value], like(value.type, i32))
        value = self.lower(source)
        if is_tile(value) and code_of(node):
            return self.b.add(loop.SaturateOp(value, is_signed(node.dtype))).results[0]
        return convert(self.b, value, source.dtype, node.dtype)

    def _shifted(self, rounded: Scalar, zero: Scalar | None) -> SSAValue:
        value = self.lower(rounded)
        if zero is None:
            return value
        shift = convert(self.b, self.lower(zero), zero.dtype, rounded.dtype)
        return self.b.op(arith.AddfOp, self._alike([value, shift]), value.type)

    def _arithmetic(self, node: Scalar) -> SSAValue:
        unit = gated(node)
        if unit is not None:
            name, x = unit
            return expand(self.b, name, self.lower(x))
        factors = multiply_add(node)
        values = self._alike([self.lower(a) for a in factors or node.args])
        if factors:
            return self.b.op(math.FmaOp, values, values[0].type)
        return arithmetic.apply(self.b, node, values)

    def _alike(self, values: list[SSAValue]) -> list[SSAValue]:
        """Scalars repeated where other operands are tiles."""
        if not any(is_tile(v) for v in values):
            return values
        return [v if is_tile(v) else self.b.splat(v, self.scope.tile_type(v.type)) for v in values]

    def _axis(self, number: int) -> SSAValue:
        first, b = self.scope.axes[number], self.b
        for place, (axis, _) in enumerate(self.scope.tile):
            if axis == number:
                type = self.scope.tile_type(IndexType())
                steps = b.add(loop.IotaOp(type, place)).results[0]
                return b.op(arith.AddiOp, [b.splat(first, type), steps], type)
        return first

    def _load(self, node: Scalar) -> SSAValue:
        if node.attr in self.scope.registers:
            return self.scope.registers[node.attr]
        buffer = self.scope.buffers[node.attr]
        form = self.scope.space.position(node.args, buffer.shape)
        type = storage_type(node.dtype)
        codes = codes_of(form, buffer.shape, buffer.memory.type) if buffer.start is None else None
        if codes is not None and self.varies(codes):
            return self.b.add(loop.LookupOp(buffer.memory, self.tile(codes))).results[0]
        if any(self.varies(value) for value, _ in form.rest):
            value = self._gather(form, buffer, type)
        else:
            value = self._read(form, buffer, type)
        return to_register(self.b, value, node.dtype)

    def _read(self, form: Affine, buffer: Buffer, type: Attribute) -> SSAValue:
        """A load whose position is linear over the tile."""
        steps = [form.coefficient(axis) for axis, _ in self.scope.tile]
        place = self._place(form, buffer)
        if not any(s != 0 for s in steps):
            return self.b.load(buffer.memory, place, type)
        if steps[-1] not in (0, 1):
            return self._gather(form, buffer, type)
        counts = [1 if s == 0 else n for s, (_, n) in zip(steps, self.scope.tile, strict=True)]
        strides = [self.scope.dim(s) for s in steps]
        loaded = self.b.load(buffer.memory, place, VectorType(type, counts), strides)
        return self.b.splat(loaded, self.scope.tile_type(type))

    def _gather(self, form: Affine, buffer: Buffer, type: Attribute) -> SSAValue:
        """A load from a position for each lane."""
        wide = self.scope.tile_type(IndexType())
        steps = [(s, axis) for axis, _ in self.scope.tile if (s := form.coefficient(axis)) != 0]
        fixed = Affine(
            {a: c for a, c in form.coefficients.items() if a not in {axis for _, axis in steps}},
            form.constant,
            tuple((v, c) for v, c in form.rest if not self.varies(v)),
        )
        total = self.b.splat(self._place(fixed, buffer), wide)
        moving = [(self._axis(axis), step) for step, axis in steps]
        moving += [(self.lower(v), c) for v, c in form.rest if self.varies(v)]
        for value, factor in moving:
            scaled = value
            if factor != 1:
                scaled = self.b.op(
                    arith.MuliOp, [value, self.b.splat(self.scope.dim(factor), wide)], wide
                )
            total = self.b.op(arith.AddiOp, [total, scaled], wide)
        return self.b.add(loop.GatherOp(buffer.memory, total, self.scope.tile_type(type))).results[
            0
        ]

    def _place(self, form: Affine, buffer: Buffer) -> SSAValue:
        b = self.b
        total = self.scope.dim(form.constant)
        for axis, factor in form.coefficients.items():
            term = b.mul_index(self.scope.axes[axis], self.scope.dim(factor))
            total = b.add_index(total, term)
        for value, factor in form.rest:
            total = b.add_index(total, b.mul_index(self.lower(value), self.scope.dim(factor)))
        return total if buffer.start is None else b.add_index(buffer.start, total)

    def _select(self, node: Scalar) -> SSAValue:
        condition, then, other = node.args
        if self._is_safe(node):
            test, *sides = (self.lower(x) for x in node.args)
            sides = self._alike(sides)
            if is_tile(test) and not is_tile(sides[0]):
                sides = [self.b.splat(s, self.scope.tile_type(s.type)) for s in sides]
            return self.b.select(test, *sides)
        if self.varies(condition):
            raise TargetError("a guarded load whose guard differs from lane to lane")
        varies = self.varies(then) or self.varies(other)
        type = compute_type(then.dtype)
        return self.b.branch(
            self.lower(condition),
            self.scope.tile_type(type) if varies else type,
            lambda: self._scoped(then, varies),
            lambda: self._scoped(other, varies),
        )

    def _scoped(self, node: Scalar, varies: bool) -> SSAValue:
        outside = self._known
        self._known = dict(outside)
        value = self.tile(node) if varies else self.lower(node)
        self._known = outside
        return value

    def _is_safe(self, node: Scalar) -> bool:
        """Whether both sides of a select may be computed: what the condition reads was allowed."""
        condition, *sides = node.args
        read = {id(n) for n in nodes_of(condition)}
        return not any(
            id(n) not in read and self._may_miss(n) for side in sides for n in nodes_of(side)
        )

    def _may_miss(self, node: Scalar) -> bool:
        if node.op != "load" or node.attr not in self.scope.buffers:
            return False
        return not self.scope.space.inside(node.args, self.scope.buffers[node.attr].shape)

    def can_tile(self, node: Scalar) -> bool:
        """Whether ``node`` can be computed for the whole tile at once."""
        return all(
            self._is_safe(n) for n in nodes_of(node) if n.op == "select" and self.varies(n.args[0])
        )

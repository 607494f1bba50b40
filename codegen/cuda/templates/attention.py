"""Fused attention: a block of queries walks over the keys, and scores never leave the registers.

::

    for each block of keys:
        p = q @ k^T                                   (scale, mask, causality)
        top' = max(top, max(p))
        p = exp(p - top');  total = total * exp(top - top') + sum(p)
        o = o * exp(top - top') + p @ v
    result = o / total

Where queries are few, as in decoding, programs take the keys in parts, which are combined then.

The softmax over blocks is that of Milakov and Gimelshein, "Online normalizer calculation for
softmax" (2018), as in Dao et al., "FlashAttention" (2022). Queries of all heads that share keys are
rows of one block, so that keys are read once for them (Ainslie et al., "GQA", 2023).
"""

from __future__ import annotations

from xdsl.ir import SSAValue

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import Dim, ceildiv, product
from ....ir.kernel import KernelOp
from ....ir.ops.attention import AttentionOp
from ....ir.ops.elementwise import broadcast_load
from ....ir.ops.shape import TransposeOp
from ....ir.scalar import Scalar
from ....ir.types import F32, type_of
from ..elements import memory_type
from ..fill import several
from ..frame import Code, Frame, dim_text
from ..printer import Printer, Scope
from ..queries import LEAST, Queries
from ..target import CudaTarget
from .cut import Cut
from .factors import precision_of
from .flat import Placement, divides, power_of_two
from .key_parts import KeyParts
from .pointwise import say

BATCH, HEAD, QUERY, KEY, FEATURE, VALUE, GROUP, PART = range(8)
_MOST_FEATURES = 256


def is_fused(op: AttentionOp) -> bool:
    """Whether the template serves an attention: its features are known and few."""
    features = (type_of(op.q).shape[3], type_of(op.v).shape[3])
    known = all(isinstance(f, int) and 0 < f <= _MOST_FEATURES for f in features)
    return known and type_of(op.q).dtype.itemsize <= F32.itemsize


def attention_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code for a kernel of one attention, with transposes before and after it."""
    return _Attention(Frame(kernel, name, target)).build()


class _Attention:
    def __init__(self, frame: Frame):
        self.frame = frame
        (self.op,) = (op for op in frame.kernel.ops if isinstance(op, AttentionOp))
        q, k, v = (type_of(o) for o in self.op.operands[:3])
        self.batch, self.heads, self.queries, features = q.shape
        self.groups, self.keys, values = k.shape[1], k.shape[2], v.shape[3]
        assert isinstance(features, int)
        assert isinstance(values, int)
        self.features, self.values = features, values
        self.dtype = (q.dtype == F32 and frame.target.narrow) or q.dtype
        self.share: Dim = self.heads // self.groups
        self.rows: Dim = self.share * self.queries
        size = k.dtype.itemsize * (features + values)
        wide = self.dtype == F32 or features > 128
        groups = product((self.batch, self.groups))
        queries = Queries(self.rows, groups, self.keys, size, wide, frame.target)
        subject = {
            "rows": self.rows,
            "keys": self.keys,
            "features": features,
            "values": values,
            "groups": groups,
        }
        option = frame.pick("blocks", queries.options(), subject)
        self.block, self.step, self.warps, self.stages, self.most = option
        self.cut = Cut(frame, self.keys, queries.parts(option), self.step)
        self.grid = queries.programs(option) * self.cut.count
        self.parts = self._key_parts() if self.most > 1 else None
        tiled = (self.queries, self.keys, features, values)
        outer = self.batch, self.heads
        inner = self.groups, self.cut.count
        self.space = IndexSpace((*outer, *(_at_least_two(n) for n in tiled), *inner))
        self.axes: dict[int, str] = dict.fromkeys(range(PART + 1), "0")
        self.masks: dict[int, str] = {}

    def build(self) -> Code:
        """A program is a block of rows of one group of heads, and a part of the keys."""
        frame = self.frame
        sizes = {
            "ROWS": self.block,
            "KEYS": self.step,
            "FEATURES": self._padded(self.features),
            "VALUES": self._padded(self.values),
        }
        for name, size in sizes.items():
            frame.constant(name, size)
        why = f"blocks of {self.block} queries by {self.step} keys{self.cut.why(self.most)}"
        say(frame.kernel, "attention", why)
        begin = self._place()
        self._start()
        with frame.block(f"for start in range({begin}, end, KEYS)"):
            self._keys()
        if self.parts is None:
            self._write()
            return frame.finish(self.grid, self.warps, self.stages)
        self.cut.leave(self._write, self._store)
        frame.then(self.grid, self.warps, self.stages)
        return self._combined(self.parts)

    def _key_parts(self) -> KeyParts:
        shape = self.batch, self.heads, self.queries, self.values
        indices = [s.axis(a) for a in (PART, BATCH, HEAD, QUERY, VALUE)]
        room = self.block * self.frame.target.multiprocessors
        return KeyParts(self.frame, self.cut, self.most, room, shape, indices)

    def _padded(self, features: int) -> int:
        return max(LEAST, power_of_two(features))

    def _place(self) -> str:
        """Gives the first key; the one behind the last is ``end``."""
        frame, axes, begin = self.frame, self.axes, "0"
        frame.bind("tl.program_id(0)", "program")
        sizes = [self.batch, self.groups, ceildiv(self.rows, self.block)]
        if self.parts is None:
            *outer, block = frame.unflatten("program", sizes)
            frame.bind(dim_text(self.keys), "end")
        else:
            part, *outer, block = frame.unflatten("program", [self.cut.count, *sizes])
            begin, _ = self.cut.bounds(part)
            axes[PART] = "part"
        axes[BATCH], axes[GROUP] = (frame.bind(p, n) for p, n in zip(outer, "bg", strict=True))
        frame.bind(f"{block} * ROWS", "first")
        frame.bind("(first + tl.arange(0, ROWS))[:, None]", "row")
        if self.share == 1:
            axes[HEAD], axes[QUERY] = axes[GROUP], "row"
        else:
            queries = dim_text(self.queries)
            share = dim_text(self.share)
            axes[HEAD] = frame.bind(f"{axes[GROUP]} * {share} + row // {queries}", "head")
            axes[QUERY] = frame.bind(f"row % {queries}", "query")
        if not divides(self.block, self.rows):
            frame.bind(f"row < {dim_text(self.rows)}", "row_ok")
            self.masks.update({HEAD: "row_ok", QUERY: "row_ok"})
        return begin

    def _start(self) -> None:
        """The queries, and the state before the first key."""
        frame = self.frame
        self._feature("d", "FEATURES", "[None, :]", self.features)
        where = self._scope({FEATURE: "d"}, self._tail(FEATURE, "d", self.features))
        frame.bind(self._element(self.op.q, (BATCH, HEAD, QUERY, FEATURE), where), "q")
        frame.bind('tl.full([ROWS, 1], float("-inf"), tl.float32)', "top")
        frame.bind("tl.full([ROWS, 1], 0.0, tl.float32)", "total")
        frame.bind("tl.full([ROWS, VALUES], 0.0, tl.float32)", "mixed")
        if self.op.causal and self.share == 1:
            last = dim_text(self.keys - self.queries + self.block)
            frame.bind(f"tl.minimum(end, first + {last})", "end")

    def _feature(self, name: str, size: str, spread: str, count: int) -> None:
        self.frame.bind(f"tl.arange(0, {size}){spread}", name)
        if self._padded(count) != count:
            self.frame.bind(f"{name} < {count}", f"{name}_ok")

    def _tail(self, axis: int, name: str, count: int) -> dict[int, str]:
        return {axis: f"{name}_ok"} if self._padded(count) != count else {}

    def _keys(self) -> None:
        """One block of keys."""
        frame = self.frame
        self._key("t", "[None, :]")
        self._feature("f", "FEATURES", "[:, None]", self.features)
        tail = {KEY: "t_ok", **self._tail(FEATURE, "f", self.features)}
        where = self._scope({KEY: "t", FEATURE: "f"}, tail)
        frame.bind(self._element(self.op.k, (BATCH, GROUP, KEY, FEATURE), where), "k")
        frame.bind(f"tl.dot(q, k{self._precision()})", "scores")
        frame.bind(self._finished("scores"), "scores")
        frame.bind('tl.where(t_ok, scores, float("-inf"))', "scores")
        frame.bind("tl.maximum(top, tl.reduce(scores, 1, _max)[:, None])", "highest")
        frame.bind('tl.where(highest == float("-inf"), 0.0, highest)', "shift")
        frame.bind("tl.exp(scores - shift)", "powers")
        frame.bind("tl.exp(top - shift)", "shrink")
        frame.bind("total * shrink + tl.reduce(powers, 1, _add)[:, None]", "total")
        self._key("u", "[:, None]")
        self._feature("e", "VALUES", "[None, :]", self.values)
        tail = {KEY: "u_ok", **self._tail(VALUE, "e", self.values)}
        where = self._scope({KEY: "u", VALUE: "e"}, tail)
        frame.bind(self._element(self.op.v, (BATCH, GROUP, KEY, VALUE), where), "v")
        weights = "powers" if self.dtype == F32 else f"powers.to({memory_type(self.dtype)})"
        frame.bind(f"tl.dot({weights}, v, mixed * shrink{self._precision()})", "mixed")
        frame.bind("highest", "top")

    def _key(self, name: str, spread: str) -> None:
        self.frame.bind(f"(start + tl.arange(0, KEYS)){spread}", name)
        self.frame.bind(f"{name} < {dim_text(self.keys)}", f"{name}_ok")

    def _finished(self, scores: str) -> str:
        """Scores with scale, mask and causality."""
        held = Scalar("load", (), F32, self.frame.new_number())
        score = held * float(self.op.scale)
        if len(self.op.operands) > 3:
            where = (s.axis(BATCH), s.axis(HEAD), s.axis(QUERY), s.axis(KEY))
            mask = self.frame.fused.inline(broadcast_load(self.op, 3, where), self.op)
            score = score + s.cast(mask, F32)
        if self.op.causal:
            seen = s.axis(KEY) - s.axis(QUERY) < s.size(self.keys - self.queries) + 1
            score = s.select(seen, score, float("-inf"))
        scope = self._scope({KEY: "t"}, {KEY: "t_ok"})
        scope.registers = {held.attr: scores}
        return Printer(scope).value(score)

    def _values(self) -> Scope:
        """Where a row's values are at hand."""
        self._feature("o", "VALUES", "[None, :]", self.values)
        scope = self._scope({VALUE: "o"}, self._tail(VALUE, "o", self.values))
        scope.lanes = "(row + o)"
        return scope

    def _store(self) -> None:
        """The state of a part."""
        assert self.parts
        self.parts.store(self._values())

    def _write(self) -> None:
        """The sums divided by the totals; a query that sees no key gets 0."""
        frame, scope = self.frame, self._values()
        frame.bind("mixed / tl.where(total == 0.0, 1.0, total)", "mixed")
        held = Scalar("load", (), self.dtype, frame.new_number())
        buffer = frame.buffers[len(frame.kernel.inputs)]
        scope.registers = {held.attr: "mixed"}
        Printer(scope).store(held, "mixed", self._result_indices(), buffer)

    def _combined(self, parts: KeyParts) -> Code:
        """The launch behind the parts: a program is a row."""
        frame = self.frame
        frame.constant("VALUES", self._padded(self.values))
        frame.bind("tl.program_id(0)", "row")
        rows = self.batch, self.heads, self.queries
        texts = zip(frame.unflatten("row", rows), ("b", "head", "query"), strict=True)
        named = [frame.bind(text, name) for text, name in texts]
        self.axes = {**self.axes, BATCH: named[0], HEAD: named[1], QUERY: named[2], PART: "part"}
        masks = parts.place()
        self.masks = {PART: masks} if masks else {}
        parts.combine(self._values())
        self._write()
        grid = product(rows) * several(self.cut.count)
        return frame.finish(grid, parts.warps(self._padded(self.values)))

    def _result_indices(self) -> list[Scalar]:
        """The indices of the kernel's result, which may be a transpose of the attention's."""
        indices = [s.axis(a) for a in (BATCH, HEAD, QUERY, VALUE)]
        for op in self.frame.kernel.ops[self.frame.kernel.ops.index(self.op) :]:
            if isinstance(op, TransposeOp):
                indices = [indices[p] for p in op.perm]
        return indices

    def _element(self, value: SSAValue, axes: tuple[int, ...], scope: Scope) -> str:
        node = self.frame.fused.element(value, [s.axis(a) for a in axes])
        return Printer(scope).factor(node, memory_type(self.dtype))

    def _scope(self, axes: dict[int, str], masks: dict[int, str]) -> Scope:
        here = Placement({**self.axes, **axes}, {**self.masks, **masks})
        return Scope(self.frame, self.space, here.axes, here.masks)

    def _precision(self) -> str:
        return precision_of(self.dtype, self.frame.target)


def _at_least_two(size: Dim) -> Dim:
    """The extent of an axis that is tiled; one of size 1 would not lead anywhere."""
    return 2 if size == 1 else size

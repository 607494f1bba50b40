"""The model's entry points as LLVM IR text: ``mlc_run`` and the functions that tell sizes.

A site launches a kernel: it writes pointers, symbols and its first task into an array of words, and
hands it with the number of tasks to the thread pool. Neighbouring sites may stand in a loop over
samples; each then launches the tasks of one sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ...ir.dims import Atom, Dim, Shape, SymDim, floordiv
from ...passes.memory_plan import Place

_FIELDS = ("inputs", "outputs", "symbols", "arena", "weights", "pool", "profile")


@dataclass(frozen=True)
class Site:
    """One launch: the kernel's name, where its buffers are, its symbols, its tasks.

    ``found`` are the symbols that it finds out: the words of them come after its buffers. In a loop
    over ``samples`` are the neighbours that have the same number of a ``loop``.
    """

    kernel: str
    buffers: tuple[Place, ...]
    symbols: tuple[str, ...]
    tasks: Dim
    grain: int
    found: tuple[str, ...] = ()
    loop: int | None = None
    samples: Dim = 1

    @property
    def words(self) -> int:
        """How many words a launch takes: the last is the first task."""
        return len(self.buffers) + len(self.found) + len(self.symbols) + 1


@dataclass(frozen=True)
class EntryPoints:
    """What the entry points tell and do.

    Attributes:
        symbols: In the order of the call frame.
        inputs: The shapes of the inputs.
        outputs: The shapes of the outputs.
        arena: Bytes of scratch memory.
        weights: The offset of each weight.
        sites: The launches, in order.
        late: The outputs that the run allocates, with the bytes of each.
    """

    symbols: Sequence[str]
    inputs: Sequence[Shape]
    outputs: Sequence[Shape]
    arena: Dim
    weights: Sequence[int]
    sites: Sequence[Site]
    late: Mapping[int, Dim]

    @property
    def found(self) -> list[str]:
        """The symbols that the run finds out, which are the last."""
        return [name for site in self.sites for name in site.found]


def entry_points(plan: EntryPoints) -> str:
    """The text of all exported functions but the pool's, and of what they call."""
    return "\n".join(
        [
            "declare void @mlc_parallel(ptr, ptr, ptr, i64, i64)",
            "declare i64 @llvm.readcyclecounter()",
            _LAUNCH,
            *_tasks(plan.sites),
            _run(plan),
            _arena_size(plan),
            _shapes("mlc_input_shapes", plan.symbols, plan.inputs),
            _shapes("mlc_output_shapes", plan.symbols, plan.outputs),
            "",
        ]
    )


_LAUNCH = """
define internal void @launch(ptr %pool, ptr %profile, i64 %site, ptr %task, ptr %words, i64 %tasks, i64 %grain) {
  %quiet = icmp eq ptr %profile, null
  br i1 %quiet, label %plain, label %watched
plain:
  call void @mlc_parallel(ptr %pool, ptr %task, ptr %words, i64 %tasks, i64 %grain)
  ret void
watched:
  %start = call i64 @llvm.readcyclecounter()
  call void @mlc_parallel(ptr %pool, ptr %task, ptr %words, i64 %tasks, i64 %grain)
  %end = call i64 @llvm.readcyclecounter()
  %spent = sub i64 %end, %start
  %counter = getelementptr i64, ptr %profile, i64 %site
  %before = load i64, ptr %counter
  %after = add i64 %before, %spent
  store i64 %after, ptr %counter
  ret void
}
"""  # noqa: E501


class _Text:
    """Lines of one function, with fresh registers and dims as values."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def define(self, text: str) -> str:
        self._count += 1
        self.lines.append(f"  %r{self._count} = {text}")
        return f"%r{self._count}"

    def word(self, base: str, index: int) -> str:
        """The address of a word of an array."""
        return self.define(f"getelementptr i64, ptr {base}, i64 {index}")

    def load_symbols(self, names: Iterable[str], base: str, first: int = 0) -> None:
        for number, name in enumerate(names, first):
            address = self.word(base, number)
            self.lines.append(f"  %sym.{name} = load i64, ptr {address}")

    def dim(self, dim: Dim) -> str:
        """The value of a dimension."""
        if not isinstance(dim, SymDim):
            return str(dim)
        total = "0"
        for monomial, coefficient in dim.terms:
            term = str(coefficient)
            for atom in monomial:
                term = self.define(f"mul i64 {term}, {self._atom(atom)}")
            total = self.define(f"add i64 {total}, {term}")
        return total

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, str):
            return f"%sym.{atom}"
        left, right = (self.dim(a) for a in atom.args)
        if atom.function in ("floordiv", "mod"):
            return self._division(atom.function, left, right)
        test = self.define(f"icmp {'sgt' if atom.function == 'max' else 'slt'} i64 {left}, {right}")
        return self.define(f"select i1 {test}, i64 {left}, i64 {right}")

    def _division(self, function: str, a: str, divisor: str) -> str:
        """``//`` or ``%`` by a positive divisor, rounded down; a divisor of 0 counts as 1."""
        is_zero = self.define(f"icmp eq i64 {divisor}, 0")
        divisor = self.define(f"select i1 {is_zero}, i64 1, i64 {divisor}")
        rest = self.define(f"srem i64 {a}, {divisor}")
        below = self.define(f"ashr i64 {rest}, 63")  # -1 where the rest is negative
        if function == "mod":
            return self.define(f"add i64 {rest}, {self.define(f'and i64 {divisor}, {below}')}")
        quotient = self.define(f"sdiv i64 {a}, {divisor}")
        return self.define(f"add i64 {quotient}, {below}")


def _tasks(sites: Sequence[Site]) -> Iterable[str]:
    """For each kernel, the function that a thread calls: it unpacks the words."""
    for name, site in {s.kernel: s for s in sites}.items():
        text = _Text()
        kinds = ["ptr"] * (len(site.buffers) + len(site.found)) + ["i64"] * len(site.symbols)
        values = [
            text.define(f"load {k}, ptr {text.word('%words', n)}") for n, k in enumerate(kinds)
        ]
        first = text.define(f"load i64, ptr {text.word('%words', len(kinds))}")
        bounds = [text.define(f"add i64 {first}, %{bound}") for bound in ("begin", "end")]
        typed = [*zip(kinds, values, strict=True), *(("i64", bound) for bound in bounds)]
        arguments = ", ".join(f"{kind} {value}" for kind, value in typed)
        yield (
            f"define internal void @{name}.task(ptr %words, i64 %begin, i64 %end) {{\n"
            + "\n".join(text.lines)
            + f"\n  call void @{name}({arguments})\n  ret void\n}}\n"
        )


def _run(plan: EntryPoints) -> str:
    text = _Text()
    for number, name in enumerate(_FIELDS):
        address = text.word("%call", number)
        text.lines.append(f"  %{name} = load ptr, ptr {address}")
    known = len(plan.symbols) - len(plan.found)
    text.load_symbols(plan.symbols[:known], "%symbols")
    for number, size in plan.late.items():
        address = text.define(f"call ptr @malloc(i64 {text.dim(size)})")
        text.lines.append(f"  store ptr {address}, ptr {text.word('%outputs', number)}")
    longest = max((s.words for s in plan.sites), default=1)
    text.lines.append(f"  %words = alloca [{longest} x i64]")
    text.lines.append("  %next.sample = alloca i64")
    for loop, sites in groupby(enumerate(plan.sites), lambda numbered: numbered[1].loop):
        launches = list(sites)
        sample = None if loop is None else _open_loop(text, loop, launches[0][1].samples)
        for number, site in launches:
            text.lines += [f"  br label %site{number}", f"site{number}:"]
            _launch(text, plan, number, site, sample)
        if loop is not None:
            text.lines += [f"  br label %each{loop}", f"after{loop}:"]
    body = "\n".join(text.lines)
    return f"define i32 @mlc_run(ptr %call) {{\n{body}\n  ret i32 0\n}}\n"


def _open_loop(text: _Text, loop: int, samples: Dim) -> str:
    """The head of a loop over samples; gives the number of the sample."""
    text.lines += ["  store i64 0, ptr %next.sample", f"  br label %each{loop}", f"each{loop}:"]
    sample = text.define("load i64, ptr %next.sample")
    left = text.define(f"icmp slt i64 {sample}, {text.dim(samples)}")
    text.lines += [f"  br i1 {left}, label %sample{loop}, label %after{loop}", f"sample{loop}:"]
    following = text.define(f"add i64 {sample}, 1")
    text.lines.append(f"  store i64 {following}, ptr %next.sample")
    return sample


def _launch(
    text: _Text, plan: EntryPoints, number: int, site: Site, sample: str | None = None
) -> None:
    values = [("ptr", _address(text, plan, place, sample)) for place in site.buffers]
    words = [plan.symbols.index(name) for name in site.found]
    values += [("ptr", text.word("%symbols", number)) for number in words]
    values += [("i64", f"%sym.{name}") for name in site.symbols]
    tasks = text.dim(floordiv(site.tasks, site.samples))
    values.append(("i64", "0" if sample is None else text.define(f"mul i64 {sample}, {tasks}")))
    for n, (kind, value) in enumerate(values):
        text.lines.append(f"  store {kind} {value}, ptr {text.word('%words', n)}")
    arguments = f"i64 {number}, ptr @{site.kernel}.task, ptr %words, i64 {tasks}"
    text.lines.append(
        f"  call void @launch(ptr %pool, ptr %profile, {arguments}, i64 {site.grain})"
    )
    for name, number in zip(site.found, words, strict=True):
        text.load_symbols([name], "%symbols", number)


def _address(text: _Text, plan: EntryPoints, place: Place, sample: str | None) -> str:
    """Where a buffer begins; one of a single sample so far ahead that ``sample`` lies in it."""
    if place.kind in ("input", "output"):
        return text.define(f"load ptr, ptr {text.word(f'%{place.kind}s', place.number)}")
    if place.kind == "weight":
        return text.define(f"getelementptr i8, ptr %weights, i64 {plan.weights[place.number]}")
    offset = text.dim(place.offset)
    if place.sample:
        ahead = text.define(f"mul i64 {sample}, {place.sample}")
        offset = text.define(f"sub i64 {offset}, {ahead}")
    return text.define(f"getelementptr i8, ptr %arena, i64 {offset}")


def _arena_size(plan: EntryPoints) -> str:
    text = _Text()
    text.load_symbols(plan.symbols, "%symbols")
    size = text.dim(plan.arena)
    body = "\n".join(text.lines)
    return f"define i64 @mlc_arena_size(ptr %symbols) {{\n{body}\n  ret i64 {size}\n}}\n"


def _shapes(name: str, symbols: Sequence[str], shapes: Sequence[Shape]) -> str:
    text = _Text()
    text.load_symbols(symbols, "%symbols")
    for number, dim in enumerate(d for shape in shapes for d in shape):
        value = text.dim(dim)
        text.lines.append(f"  store i64 {value}, ptr {text.word('%dims', number)}")
    body = "\n".join(text.lines)
    return f"define void @{name}(ptr %symbols, ptr %dims) {{\n{body}\n  ret void\n}}\n"

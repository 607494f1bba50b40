"""The model's entry points as LLVM IR text: ``mlc_expand``, ``mlc_run``, and those that tell sizes.

A site launches a kernel: it writes pointers, symbols and its first task into an array of words, and
hands it with the number of tasks to the thread pool. Neighbouring sites may stand in a loop over
samples; each then launches the tasks of one sample. Branches and loops of the model stand around
sites as they do around nodes there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from ...ir.dims import Shape
from . import heap
from .branches import branch, repeat
from .loops import close_loop, loop_tasks, open_loop
from .sites import Branch, EntryPoints, Site, Step, Turn, load_fields, write_words
from .text import Text


def entry_points(plan: EntryPoints) -> str:
    """The text of all exported functions but the pool's, and of what they call."""
    return "\n".join(
        [
            "declare void @mlc_parallel(ptr, ptr, ptr, i64, i64)",
            "declare i64 @llvm.readcyclecounter()",
            _LAUNCH,
            *([heap.RESIZE] if plan.heap else []),
            *_tasks((*plan.sites, *plan.expansions)),
            *loop_tasks(plan),
            _run(plan),
            _expand(plan),
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


def _tasks(sites: Sequence[Site]) -> Iterable[str]:
    """For each kernel, the function that a thread calls: it unpacks the words."""
    for name, site in {s.kernel: s for s in sites}.items():
        text = Text()
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
    text = Text()
    load_fields(text)
    text.load_symbols(plan.symbols[: len(plan.symbols) - len(plan.found)], "%symbols")
    for number, size in plan.late.items():
        address = text.define(f"call ptr @malloc(i64 {text.dim(size)})")
        text.lines.append(f"  store ptr {address}, ptr {text.word('%outputs', number)}")
    plan.words(text)
    text.lines += ["  %next.sample = alloca i64", "  %context = alloca [3 x i64]"]
    text.lines.append(f"  %held = alloca [{max(1, plan.pointers)} x ptr]")
    text.lines.append(f"  %iterations = alloca [{max(1, plan.repeats)} x i64]")
    heap.begin(text, plan)
    _steps(text, plan, plan.steps)
    heap.end(text, plan)
    body = "\n".join(text.lines)
    return f"define i32 @mlc_run(ptr %call) {{\n{body}\n}}\n"


def _steps(text: Text, plan: EntryPoints, steps: Sequence[Step]) -> None:
    for loop, together in groupby(steps, _sample_loop):
        turn = None if loop is None else open_loop(text, plan, loop)
        for step in together:
            if isinstance(step, Site):
                _launch(text, plan, step, turn)
            elif isinstance(step, Branch):
                branch(text, plan, step, _steps)
            else:
                repeat(text, plan, step, _steps)
        if loop is not None:
            close_loop(text, loop)


def _sample_loop(step: Step) -> int | None:
    return step.loop if isinstance(step, Site) else None


def _launch(text: Text, plan: EntryPoints, site: Site, turn: Turn | None) -> None:
    text.lines += [f"  br label %site{site.number}", f"site{site.number}:"]
    for place, size in site.room:
        heap.resize(text, place, size)
    tasks = write_words(text, plan, site, turn)
    head = f"ptr %pool, ptr %profile, i64 {site.number}, ptr @{site.kernel}.task"
    text.lines.append(f"  call void @launch({head}, ptr %words, i64 {tasks}, i64 {site.grain})")
    for name in site.found:
        text.load_symbols([name], "%symbols", plan.symbols.index(name))


def _expand(plan: EntryPoints) -> str:
    """``mlc_expand``: makes the weights that are not in the artifact, once for all runs."""
    text = Text()
    load_fields(text)
    plan.words(text)
    for site in plan.expansions:
        tasks = write_words(text, plan, site)
        job = f"ptr %pool, ptr @{site.kernel}.task, ptr %words, i64 {tasks}, i64 {site.grain}"
        text.lines.append(f"  call void @mlc_parallel({job})")
    body = "\n".join(text.lines)
    return f"define void @mlc_expand(ptr %call) {{\n{body}\n  ret void\n}}\n"


def _arena_size(plan: EntryPoints) -> str:
    text = Text()
    text.load_symbols(plan.symbols, "%symbols")
    size = text.dim(plan.arena)
    body = "\n".join(text.lines)
    return f"define i64 @mlc_arena_size(ptr %symbols) {{\n{body}\n  ret i64 {size}\n}}\n"


def _shapes(name: str, symbols: Sequence[str], shapes: Sequence[Shape]) -> str:
    text = Text()
    text.load_symbols(symbols, "%symbols")
    for number, dim in enumerate(d for shape in shapes for d in shape):
        value = text.dim(dim)
        text.lines.append(f"  store i64 {value}, ptr {text.word('%dims', number)}")
    body = "\n".join(text.lines)
    return f"define void @{name}(ptr %symbols, ptr %dims) {{\n{body}\n  ret void\n}}\n"

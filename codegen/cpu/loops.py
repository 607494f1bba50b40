"""Loops over samples as LLVM IR text: one after the other, or several at once.

Where samples come out even for the threads, each is computed by one thread alone, in memory of its
own: a *slot*. Else all threads work on one sample after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .sites import EntryPoints, Site, Turn, load_fields, write_words
from .text import Text

# Threads share one sample as if they were four fifths as many.
_SHARED, _ALONE = 4, 5

SLOTS = """
declare i64 @mlc_pool_threads(ptr)
declare i64 @llvm.cttz.i64(i64, i1)

; Takes the first slot that is free; there are no more threads than slots.
define internal i64 @take_slot(ptr %slots) {
entry:
  br label %try
try:
  %seen = load atomic i64, ptr %slots monotonic, align 8
  %free = xor i64 %seen, -1
  %slot = call i64 @llvm.cttz.i64(i64 %free, i1 true)
  %bit = shl i64 1, %slot
  %taken = or i64 %seen, %bit
  %swap = cmpxchg ptr %slots, i64 %seen, i64 %taken acquire monotonic
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %end, label %try
end:
  ret i64 %slot
}

define internal void @give_slot(ptr %slots, i64 %slot) {
  %bit = shl i64 1, %slot
  %others = xor i64 %bit, -1
  %before = atomicrmw and ptr %slots, i64 %others release
  ret void
}
"""


def loop_tasks(plan: EntryPoints) -> Iterable[str]:
    """For each loop, the function by which a thread computes samples; ``SLOTS`` before them."""
    if plan.loops:
        yield SLOTS
    for number in range(len(plan.loops)):
        yield _task(plan, number, [site for site in plan.sites if site.loop == number])


def _task(plan: EntryPoints, number: int, sites: Sequence[Site]) -> str:
    text = Text()
    text.lines += [
        "  %call = load ptr, ptr %context",
        "  %slots = getelementptr i64, ptr %context, i64 1",
        "  %place = getelementptr i64, ptr %context, i64 2",
        "  %held = load ptr, ptr %place",
    ]
    load_fields(text)
    text.load_symbols(plan.symbols, "%symbols")
    plan.words(text)
    text.lines += ["  %slot = call i64 @take_slot(ptr %slots)", "  br label %each", "each:"]
    text.lines.append("  %sample = phi i64 [ %begin, %entry ], [ %following, %one ]")
    text.lines.append("  %left = icmp slt i64 %sample, %end")
    text.lines += ["  br i1 %left, label %one, label %done", "one:"]
    for site in sites:
        tasks = write_words(text, plan, site, Turn("%sample", "%slot"))
        text.lines.append(f"  call void @{site.kernel}.task(ptr %words, i64 0, i64 {tasks})")
    text.lines += ["  %following = add i64 %sample, 1", "  br label %each", "done:"]
    text.lines += ["  call void @give_slot(ptr %slots, i64 %slot)", "  ret void"]
    head = f"define internal void @loop{number}(ptr %context, i64 %begin, i64 %end) {{"
    return "\n".join([head, "entry:", *text.lines, "}", ""])


def open_loop(text: Text, plan: EntryPoints, number: int) -> Turn:
    """Begins a loop, whose body follows: what is done for one sample where threads share it."""
    loop = plan.loops[number]
    samples = text.dim(loop.samples)
    threads = text.define("call i64 @mlc_pool_threads(ptr %pool)")
    above = text.define(f"add i64 {samples}, {text.define(f'sub i64 {threads}, 1')}")
    rounds = text.define(f"sdiv i64 {above}, {threads}")
    alone = text.define(f"mul i64 {text.define(f'mul i64 {rounds}, {threads}')}, {_SHARED}")
    shared = text.define(f"mul i64 {samples}, {_ALONE}")
    even = text.define(f"icmp sle i64 {alone}, {shared}")
    quiet = text.define("icmp eq ptr %profile, null")
    apart = text.define(f"and i1 {even}, {quiet}")
    text.lines += [f"  br i1 {apart}, label %apart{number}, label %shared{number}"]
    _run_apart(text, number, samples, loop.slots)
    text.lines += [f"shared{number}:", "  store i64 0, ptr %next.sample"]
    text.lines += [f"  br label %each{number}", f"each{number}:"]
    sample = text.define("load i64, ptr %next.sample")
    left = text.define(f"icmp slt i64 {sample}, {samples}")
    text.lines += [f"  br i1 {left}, label %one{number}, label %after{number}", f"one{number}:"]
    following = text.define(f"add i64 {sample}, 1")
    text.lines.append(f"  store i64 {following}, ptr %next.sample")
    return Turn(sample)


def close_loop(text: Text, number: int) -> None:
    """Ends the body."""
    text.lines += [f"  br label %each{number}", f"after{number}:"]


def _run_apart(text: Text, number: int, samples: str, slots: int) -> None:
    """Hands the samples to the threads, in no more parts than there are slots."""
    text.lines += [f"apart{number}:", "  store ptr %call, ptr %context"]
    text.lines.append(f"  store i64 0, ptr {text.word('%context', 1)}")
    text.lines.append(f"  store ptr %held, ptr {text.word('%context', 2)}")
    above = text.define(f"add i64 {samples}, {slots - 1}")
    grain = text.define(f"sdiv i64 {above}, {slots}")
    arguments = f"ptr @loop{number}, ptr %context, i64 {samples}, i64 {grain}"
    text.lines.append(f"  call void @mlc_parallel(ptr %pool, {arguments})")
    text.lines.append(f"  br label %after{number}")

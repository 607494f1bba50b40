"""Memory that a run gets when it knows how much is needed, as LLVM IR text."""

from __future__ import annotations

from ...ir.dims import Dim
from ...passes.memory_plan import Place
from .sites import EntryPoints, pointer_to
from .text import Text

MESSAGE = "the run needs more memory than there is"

RESIZE = """
declare ptr @realloc(ptr, i64)
declare void @free(ptr)

; Makes room behind a pointer, which may be null; false where there is none.
define internal i1 @resize(ptr %pointer, i64 %bytes) {
  %old = load ptr, ptr %pointer
  %some = add i64 %bytes, 1
  %new = call ptr @realloc(ptr %old, i64 %some)
  %failed = icmp eq ptr %new, null
  %kept = select i1 %failed, ptr %old, ptr %new
  store ptr %kept, ptr %pointer
  %done = xor i1 %failed, true
  ret i1 %done
}
"""


def begin(text: Text, plan: EntryPoints) -> None:
    """There is no memory yet."""
    for place in plan.heap:
        text.lines.append(f"  store ptr null, ptr {pointer_to(text, place)}")


def resize(text: Text, place: Place, size: Dim | str) -> None:
    """Gets memory, and keeps what is in the one before; the run ends where there is none."""
    bytes = size if isinstance(size, str) else text.dim(size)
    pointer = pointer_to(text, place)
    done = text.define(f"call i1 @resize(ptr {pointer}, i64 {bytes})")
    label = f"room.{done[1:]}"
    text.lines += [f"  br i1 {done}, label %{label}, label %no.room", f"{label}:"]


def end(text: Text, plan: EntryPoints) -> None:
    """Gives the memory back; outputs are the caller's."""
    if not plan.heap:
        text.lines.append("  ret i32 0")
        return
    text.lines += [
        "  br label %end",
        "end:",
        "  br label %leave",
        "no.room:",
        "  br label %leave",
        "leave:",
    ]
    text.lines.append("  %code = phi i32 [ 0, %end ], [ 1, %no.room ]")
    for place in plan.heap:
        if place.kind == "held":
            memory = text.define(f"load ptr, ptr {pointer_to(text, place)}")
            text.lines.append(f"  call void @free(ptr {memory})")
    text.lines.append("  ret i32 %code")

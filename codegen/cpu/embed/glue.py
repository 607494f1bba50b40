"""The functions of a model's header as LLVM IR text, around the entry points of native code."""

from __future__ import annotations

from collections.abc import Iterator

from ..sites import FIELDS
from ..text import Text
from .interface import Array, Interface, Size

NO_MEMORY, BAD_SIZE = -1, -2
_MEANINGS = {
    0: "no error",
    NO_MEMORY: "there is not enough memory",
    BAD_SIZE: "a size is not one that the model was compiled for",
}
# Bytes of scratch memory that no model needs.
_TOO_MUCH = 1 << 46
_LINE = 64


def glue(interface: Interface) -> str:
    """The text; ``NAME_weights`` stands in another object."""
    return "\n".join(
        [
            _HEAD,
            _life(interface),
            _RESERVE,
            _run(interface),
            _error(interface),
        ]
    )


def exported(interface: Interface) -> list[str]:
    """The names of the functions."""
    return [f"{interface.name}_{what}" for what in ("create", "destroy", "run", "error")]


_HEAD = """
; The pool, the scratch memory, its bytes, the weights that are not in the library.
%Model = type { ptr, ptr, i64, ptr }

declare ptr @calloc(i64, i64)
declare void @free(ptr)
declare ptr @aligned_alloc(i64, i64)
declare ptr @mlc_pool_create(i32)
declare void @mlc_pool_destroy(ptr)
declare i32 @mlc_run(ptr)
declare void @mlc_expand(ptr)
declare i64 @mlc_arena_size(ptr)
declare void @mlc_output_shapes(ptr, ptr)
"""


def _life(interface: Interface) -> str:
    """How a model begins, with the weights that it makes for itself, and ends."""
    text, name = Text(), interface.name
    given = {"pool": "%pool", "weights": "%weights", "expanded": "%expanded"}
    for number, field in enumerate(FIELDS):
        place = text.word("%frame", number)
        text.lines.append(f"  store ptr {given.get(field, 'null')}, ptr {place}")
    size = -(-max(1, interface.expanded) // _LINE) * _LINE
    expand = "\n".join(text.lines)
    return _LIFE.replace("NAME", name).replace("SIZE", str(size)).replace("FRAME", expand)


_LIFE = f"""
@NAME_weights = external hidden constant i8
; An absolute address, so that weights may be far away.
@weights = internal constant ptr @NAME_weights

define ptr @NAME_create(i32 %threads) {{
  %frame = alloca [{len(FIELDS)} x i64]
  %model = call ptr @calloc(i64 1, i64 32)
  %failed = icmp eq ptr %model, null
  br i1 %failed, label %end, label %fill
fill:
  %pool = call ptr @mlc_pool_create(i32 %threads)
  store ptr %pool, ptr %model
  %expanded = call ptr @aligned_alloc(i64 {_LINE}, i64 SIZE)
  %place = getelementptr %Model, ptr %model, i64 0, i32 3
  store ptr %expanded, ptr %place
  %none = icmp eq ptr %expanded, null
  br i1 %none, label %give.up, label %expand
give.up:
  call void @NAME_destroy(ptr %model)
  br label %end
expand:
  %weights = load ptr, ptr @weights
FRAME
  call void @mlc_expand(ptr %frame)
  br label %end
end:
  %made = phi ptr [ null, %0 ], [ null, %give.up ], [ %model, %expand ]
  ret ptr %made
}}

define void @NAME_destroy(ptr %model) {{
  %nothing = icmp eq ptr %model, null
  br i1 %nothing, label %end, label %some
some:
  %pool = load ptr, ptr %model
  call void @mlc_pool_destroy(ptr %pool)
  %arena.place = getelementptr %Model, ptr %model, i64 0, i32 1
  %arena = load ptr, ptr %arena.place
  call void @free(ptr %arena)
  %expanded.place = getelementptr %Model, ptr %model, i64 0, i32 3
  %expanded = load ptr, ptr %expanded.place
  call void @free(ptr %expanded)
  call void @free(ptr %model)
  br label %end
end:
  ret void
}}
"""

_RESERVE = """
; The scratch memory of a model, of so many bytes at least; null where there is none.
define internal ptr @reserve(ptr %model, i64 %bytes) {
  %place = getelementptr %Model, ptr %model, i64 0, i32 1
  %size = getelementptr %Model, ptr %model, i64 0, i32 2
  %old = load ptr, ptr %place
  %has = load i64, ptr %size
  %more = add i64 %bytes, 64
  %wanted = and i64 %more, -64
  %enough = icmp sge i64 %has, %wanted
  br i1 %enough, label %keep, label %grow
keep:
  ret ptr %old
grow:
  call void @free(ptr %old)
  %new = call ptr @aligned_alloc(i64 64, i64 %wanted)
  %failed = icmp eq ptr %new, null
  %got = select i1 %failed, i64 0, i64 %wanted
  store ptr %new, ptr %place
  store i64 %got, ptr %size
  ret ptr %new
}
"""


def _run(interface: Interface) -> str:
    text = Text()
    for table, count in _tables(interface):
        text.lines.append(f"  %{table} = alloca [{max(1, count)} x i64]")
    for number, size in enumerate(interface.sizes):
        value = "0" if size.late else _argument(size)
        text.lines.append(f"  store i64 {value}, ptr {text.word('%symbols', number)}")
    _check_sizes(text, interface)
    _fill(text, interface)
    text.lines += [
        "  %code = call i32 @mlc_run(ptr %frame)",
        "  %good = icmp eq i32 %code, 0",
        "  br i1 %good, label %tell, label %free",
        "tell:",
    ]
    _tell(text, interface)
    text.lines += ["  br label %end", "free:"]
    for place in _allocated(text, interface).values():
        text.lines.append(f"  call void @free(ptr {place})")
    text.lines += ["  br label %end", "end:"]
    ends = f"[ {BAD_SIZE}, %size ], [ {NO_MEMORY}, %memory ], [ %code, %free ], [ 0, %tell ]"
    text.lines += [f"  %result = phi i32 {ends}", "  ret i32 %result"]
    body = "\n".join(text.lines)
    arguments = ", ".join(_arguments(interface))
    return f"define i32 @{interface.name}_run({arguments}) {{\n{body}\n}}\n"


def _tables(interface: Interface) -> Iterator[tuple[str, int]]:
    yield "frame", len(FIELDS) + 1
    yield "inputs", len(interface.inputs)
    yield "outputs", len(interface.outputs)
    yield "symbols", len(interface.sizes)
    yield "dims", sum(o.rank for o in interface.outputs)


def _arguments(interface: Interface) -> Iterator[str]:
    yield "ptr %model"
    yield from (f"i64 {_argument(s)}" for s in interface.sizes if not s.late)
    yield from (f"ptr {_argument(a)}" for a in (*interface.inputs, *interface.outputs))
    yield from (f"ptr {_argument(s)}" for s in interface.sizes if s.late)


def _argument(what: Size | Array) -> str:
    """Its register."""
    return f"%{what.name}.given"


def _check_sizes(text: Text, interface: Interface) -> None:
    """Leaves where a size is out of range, or one of an output or of the memory makes no sense."""
    good = "true"
    for size in interface.sizes:
        if size.late:
            continue
        good = _and(text, good, f"icmp sge i64 {_argument(size)}, {size.min}")
        if size.max is not None:
            good = _and(text, good, f"icmp sle i64 {_argument(size)}, {size.max}")
    text.lines.append("  call void @mlc_output_shapes(ptr %symbols, ptr %dims)")
    for number in range(sum(o.rank for o in interface.outputs)):
        dim = text.define(f"load i64, ptr {text.word('%dims', number)}")
        good = _and(text, good, f"icmp sge i64 {dim}, 0")
    text.lines.append("  %bytes = call i64 @mlc_arena_size(ptr %symbols)")
    good = _and(text, good, f"icmp ule i64 %bytes, {_TOO_MUCH}")
    text.lines += [
        f"  br i1 {good}, label %fits, label %size",
        "size:",
        "  br label %end",
        "fits:",
        "  %arena = call ptr @reserve(ptr %model, i64 %bytes)",
        "  %none = icmp eq ptr %arena, null",
        "  br i1 %none, label %memory, label %call",
        "memory:",
        "  br label %end",
        "call:",
    ]


def _and(text: Text, known: str, test: str) -> str:
    return text.define(f"and i1 {known}, {text.define(test)}")


def _fill(text: Text, interface: Interface) -> None:
    """Writes the call frame and its tables."""
    for table, arrays in (("%inputs", interface.inputs), ("%outputs", interface.outputs)):
        for number, array in enumerate(arrays):
            given = "null" if array.late else _argument(array)
            text.lines.append(f"  store ptr {given}, ptr {text.word(table, number)}")
    text.lines += ["  %pool = load ptr, ptr %model", "  %weights = load ptr, ptr @weights"]
    text.lines.append("  %held = getelementptr %Model, ptr %model, i64 0, i32 3")
    text.lines.append("  %expanded = load ptr, ptr %held")
    for number, field in enumerate(FIELDS):
        value = "null" if field == "profile" else f"%{field}"
        text.lines.append(f"  store ptr {value}, ptr {text.word('%frame', number)}")


def _tell(text: Text, interface: Interface) -> None:
    """Gives late outputs and sizes to the caller."""
    for argument, place in _allocated(text, interface).items():
        text.lines.append(f"  store ptr {place}, ptr {argument}")
    for number, size in enumerate(interface.sizes):
        if size.late:
            value = text.define(f"load i64, ptr {text.word('%symbols', number)}")
            text.lines.append(f"  store i64 {value}, ptr {_argument(size)}")


def _allocated(text: Text, interface: Interface) -> dict[str, str]:
    """The late outputs by their arguments."""
    return {
        _argument(array): text.define(f"load ptr, ptr {text.word('%outputs', number)}")
        for number, array in enumerate(interface.outputs)
        if array.late
    }


def _error(interface: Interface) -> str:
    meanings = {**_MEANINGS, **dict(enumerate(interface.errors, 1))}
    texts = [*meanings.values(), "an error that is not known"]
    constants = "".join(_constant(n, text) for n, text in enumerate(texts))
    cases = " ".join(f"i32 {code}, label %e{n}" for n, code in enumerate(meanings))
    labels = "".join(f"e{n}:\n  ret ptr @meaning{n}\n" for n in range(len(texts)))
    return (
        f"{constants}define ptr @{interface.name}_error(i32 %error) {{\n"
        f"  switch i32 %error, label %e{len(meanings)} [ {cases} ]\n{labels}}}\n"
    )


def _constant(number: int, text: str) -> str:
    raw = text.encode() + b"\0"
    escaped = "".join(f"\\{byte:02x}" for byte in raw)
    return f'@meaning{number} = internal constant [{len(raw)} x i8] c"{escaped}"\n'

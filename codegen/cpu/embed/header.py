"""The header of a model."""

from __future__ import annotations

from collections.abc import Iterator

from .interface import Array, Interface, Size


def header(interface: Interface) -> str:
    """The text of ``NAME.h``: C99, and C++."""
    name = interface.name
    told = "\n".join(f"   {line}" for line in _told(interface))
    late = any(o.late for o in interface.outputs)
    allocated = "\n   What is allocated by a run, the caller gives to free()." if late else ""
    return f"""\
/* {name}: made by {interface.compiler}. Link with -lm -lpthread. */
#ifndef MLC_MODEL_{name.upper()}_H
#define MLC_MODEL_{name.upper()}_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* A model with its threads, its scratch memory, and what it makes of the weights. */
typedef struct {name} {name};

/* A model that runs on so many threads, the caller's among them. NULL: there is no memory. */
{name} *{name}_create(int32_t threads);

/* Ends a model and its threads. */
void {name}_destroy({name} *model);

/* Runs the model; several at once need a model each. Gives 0, or an error.{allocated}
{told} */
int32_t {name}_run({", ".join(_arguments(interface))});

/* What an error means. */
const char *{name}_error(int32_t error);

#ifdef __cplusplus
}}
#endif
#endif
"""


def _told(interface: Interface) -> Iterator[str]:
    """A line for each argument."""
    for size in interface.sizes:
        yield f"{size.name}: {_size(size)}"
    for array in interface.inputs:
        yield f"{array.name}: reads {array.told}"
    for array in interface.outputs:
        yield f"{array.name}: {'allocates' if array.late else 'writes'} {array.told}"


def _size(size: Size) -> str:
    if size.late:
        return f"is told the size {size.symbol}"
    most = "" if size.max is None else f", at most {size.max}"
    return f"the size {size.symbol}, at least {size.min}{most}"


def _arguments(interface: Interface) -> list[str]:
    return [
        f"{interface.name} *model",
        *(f"int64_t {s.name}" for s in interface.sizes if not s.late),
        *(f"const {a.type} *{a.name}" for a in interface.inputs),
        *(_output(a) for a in interface.outputs),
        *(f"int64_t *{s.name}" for s in interface.sizes if s.late),
    ]


def _output(array: Array) -> str:
    return f"{array.type} *{'*' if array.late else ''}{array.name}"

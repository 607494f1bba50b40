"""The thread pool as LLVM IR text."""

from __future__ import annotations

from .target import CpuTarget

_SERIAL = """
define ptr @mlc_pool_create(i32 %threads) {
  ret ptr null
}

define void @mlc_pool_destroy(ptr %pool) {
  ret void
}

define void @mlc_parallel(ptr %pool, ptr %function, ptr %context, i64 %count, i64 %grain) {
  call void %function(ptr %context, i64 0, i64 %count)
  ret void
}
"""


def pool_text(target: CpuTarget) -> str:
    """The functions of the pool, which is serial."""
    return f'target triple = "{target.triple}"\n{_SERIAL}'

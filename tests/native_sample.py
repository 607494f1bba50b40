"""A small hand-written native model, so that the runtime can be tested without the compiler.

Inputs ``x`` float32 [N, 3], ``pick`` int64 [M] and ``long`` uint8 [2*N]; outputs
``y`` = 2*x + w float32 [N, 3] (through the arena), ``picked`` float32 [M] = x.flat[pick], and
``positive`` float32 [K], the positive elements of x, whose count is known only after the run.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import binding
from mlc.runtime.artifact import Artifact, join_objects
from mlc.runtime.signature import Signature, Symbol, TensorSpec

F32 = np.dtype(np.float32)
WEIGHT = 0.5
SIGNATURE = Signature(
    [
        TensorSpec("x", F32, ("N", 3)),
        TensorSpec("pick", np.dtype(np.int64), ("M",)),
        TensorSpec("long", np.dtype(np.uint8), ("2*N",)),
    ],
    [
        TensorSpec("y", F32, ("N", 3)),
        TensorSpec("picked", F32, ("M",)),
        TensorSpec("positive", F32, ("K",)),
    ],
    [Symbol("N", max=1000), Symbol("M", min=1), Symbol("K", late=True)],
    "sample",
)

_RUN = """
%call = type { ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, i64 }
declare ptr @malloc(i64)
declare void @free(ptr)

define i32 @mlc_run(ptr %c) {
entry:
  %inputs = load ptr, ptr %c
  %p1 = getelementptr %call, ptr %c, i64 0, i32 1
  %outputs = load ptr, ptr %p1
  %p2 = getelementptr %call, ptr %c, i64 0, i32 2
  %symbols = load ptr, ptr %p2
  %p3 = getelementptr %call, ptr %c, i64 0, i32 3
  %arena = load ptr, ptr %p3
  %p4 = getelementptr %call, ptr %c, i64 0, i32 4
  %weights = load ptr, ptr %p4
  %p7 = getelementptr %call, ptr %c, i64 0, i32 7
  %profile = load ptr, ptr %p7
  %x = load ptr, ptr %inputs
  %i1 = getelementptr ptr, ptr %inputs, i64 1
  %pick = load ptr, ptr %i1
  %y = load ptr, ptr %outputs
  %o1 = getelementptr ptr, ptr %outputs, i64 1
  %picked = load ptr, ptr %o1
  %o2 = getelementptr ptr, ptr %outputs, i64 2
  %n = load i64, ptr %symbols
  %s1 = getelementptr i64, ptr %symbols, i64 1
  %m = load i64, ptr %s1
  %s2 = getelementptr i64, ptr %symbols, i64 2
  %w = load float, ptr %weights
  %size = mul i64 %n, 3
  %bytes = mul i64 %size, 4
  %positive = call ptr @malloc(i64 %bytes)
  store ptr %positive, ptr %o2
  br label %first
first:
  %i = phi i64 [0, %entry], [%i.next, %first.body]
  %count = phi i64 [0, %entry], [%count.next, %first.body]
  %more = icmp slt i64 %i, %size
  br i1 %more, label %first.body, label %second
first.body:
  %px = getelementptr float, ptr %x, i64 %i
  %v = load float, ptr %px
  %double = fadd float %v, %v
  %pa = getelementptr float, ptr %arena, i64 %i
  store float %double, ptr %pa
  %pp = getelementptr float, ptr %positive, i64 %count
  store float %v, ptr %pp
  %is = fcmp ogt float %v, 0.0
  %inc = zext i1 %is to i64
  %count.next = add i64 %count, %inc
  %i.next = add i64 %i, 1
  br label %first
second:
  store i64 %count, ptr %s2
  br label %second.head
second.head:
  %j = phi i64 [0, %second], [%j.next, %second.body]
  %j.more = icmp slt i64 %j, %size
  br i1 %j.more, label %second.body, label %third
second.body:
  %qa = getelementptr float, ptr %arena, i64 %j
  %a = load float, ptr %qa
  %sum = fadd float %a, %w
  %py = getelementptr float, ptr %y, i64 %j
  store float %sum, ptr %py
  %j.next = add i64 %j, 1
  br label %second.head
third:
  br label %third.head
third.head:
  %k = phi i64 [0, %third], [%k.next, %third.body]
  %k.more = icmp slt i64 %k, %m
  br i1 %k.more, label %third.check, label %done
third.check:
  %pk = getelementptr i64, ptr %pick, i64 %k
  %at = load i64, ptr %pk
  %ok = icmp ult i64 %at, %size
  br i1 %ok, label %third.body, label %fail
third.body:
  %pv = getelementptr float, ptr %x, i64 %at
  %value = load float, ptr %pv
  %pq = getelementptr float, ptr %picked, i64 %k
  store float %value, ptr %pq
  %k.next = add i64 %k, 1
  br label %third.head
fail:
  %detail = getelementptr %call, ptr %c, i64 0, i32 8
  store i64 %at, ptr %detail
  ret i32 2
done:
  %watched = icmp ne ptr %profile, null
  br i1 %watched, label %count.cycles, label %end
count.cycles:
  store i64 77, ptr %profile
  br label %end
end:
  ret i32 0
}

define void @mlc_expand(ptr %c) {
  ret void
}

define i64 @mlc_arena_size(ptr %s) {
  %n = load i64, ptr %s
  %bytes = mul i64 %n, 12
  ret i64 %bytes
}

define void @mlc_input_shapes(ptr %s, ptr %d) {
  %n = load i64, ptr %s
  %s1 = getelementptr i64, ptr %s, i64 1
  %m = load i64, ptr %s1
  store i64 %n, ptr %d
  %d1 = getelementptr i64, ptr %d, i64 1
  store i64 3, ptr %d1
  %d2 = getelementptr i64, ptr %d, i64 2
  store i64 %m, ptr %d2
  %d3 = getelementptr i64, ptr %d, i64 3
  %twice = mul i64 %n, 2
  store i64 %twice, ptr %d3
  ret void
}

define void @mlc_output_shapes(ptr %s, ptr %d) {
  %n = load i64, ptr %s
  %s1 = getelementptr i64, ptr %s, i64 1
  %m = load i64, ptr %s1
  %s2 = getelementptr i64, ptr %s, i64 2
  %k = load i64, ptr %s2
  store i64 %n, ptr %d
  %d1 = getelementptr i64, ptr %d, i64 1
  store i64 3, ptr %d1
  %d2 = getelementptr i64, ptr %d, i64 2
  store i64 %m, ptr %d2
  %d3 = getelementptr i64, ptr %d, i64 3
  store i64 %k, ptr %d3
  ret void
}
"""
_POOL = """
declare ptr @malloc(i64)
declare void @free(ptr)
define ptr @mlc_pool_create(i32 %n) {
  %p = call ptr @malloc(i64 64)
  ret ptr %p
}
define void @mlc_pool_destroy(ptr %p) {
  call void @free(ptr %p)
  ret void
}
"""


def assemble(text: str) -> bytes:
    """The object file of LLVM IR text for this machine."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(reloc="pic")
    return machine.emit_object(binding.parse_assembly(text))


@cache
def sample() -> Artifact:
    """The model as an artifact in memory, its code in two objects."""
    manifest = {
        **SIGNATURE.to_manifest(),
        "target": {"triple": binding.get_process_triple()},
        "errors": ["never", "pick: index {detail} is out of range"],
        "sites": [{"kernel": "all"}],
        "pool": "sample",
        "report": {"kernels": 1},
    }
    code = join_objects([assemble(_RUN), assemble(_POOL)])
    return Artifact.assemble(manifest, code, [(0, np.array([WEIGHT], np.float32))], 4)


def feeds(n: int = 4, picks: tuple[int, ...] = (0, 2)) -> dict[str, np.ndarray]:
    """Valid inputs; about half of x is positive."""
    x = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)
    return {"x": x, "pick": np.array(picks), "long": np.zeros(2 * n, np.uint8)}


def expected(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model computes, in numpy."""
    x = given["x"]
    return {"y": x + x + WEIGHT, "picked": x.reshape(-1)[given["pick"]], "positive": x[x > 0]}

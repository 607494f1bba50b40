"""Where workers run: each on a CPU of its own and none on the caller's, if all CPUs are asked for.

Linux tends to wake a thread on the CPU of the one that wakes it, where both get half the time; a
pool of two then gains nothing for milliseconds. With fewer threads than CPUs, or more, placement
is left to the system.
"""

from __future__ import annotations

from .layout import HEADER_BYTES, fields

PIN = f"""
; The k-th worker runs on this CPU only.
define internal void @pin(ptr %pool, i64 %k, i32 %cpu) {{
  %mask = alloca [16 x i64]
  call void @llvm.memset.p0.i64(ptr %mask, i8 0, i64 128, i1 false)
  %wide = zext i32 %cpu to i64
  %index = lshr i64 %wide, 6
  %place = getelementptr i64, ptr %mask, i64 %index
  %shift = and i64 %wide, 63
  %bit = shl i64 1, %shift
  store i64 %bit, ptr %place
  %first = getelementptr i8, ptr %pool, i64 {HEADER_BYTES}
  %worker = getelementptr %Worker, ptr %first, i64 %k
  %home = getelementptr %Worker, ptr %worker, i32 0, i32 1
  store i32 %cpu, ptr %home
  %thread = load i64, ptr %worker
  call i32 @pthread_setaffinity_np(i64 %thread, i64 128, ptr %mask)
  ret void
}}
"""

SPREAD = f"""
; Pins the workers of a new pool if it has as many threads as there are CPUs.
define internal void @spread(ptr %pool) {{
entry:
  {fields("home", "workers")}
  %allowed = alloca [128 x i8], align 64
  store i32 -1, ptr %home
  call void @llvm.memset.p0.i64(ptr %allowed, i8 0, i64 128, i1 false)
  %error = call i32 @sched_getaffinity(i32 0, i64 128, ptr %allowed)
  %known = icmp eq i32 %error, 0
  br i1 %known, label %count, label %end
count:
  %words = load <16 x i64>, ptr %allowed
  %ones = call <16 x i64> @llvm.ctpop.v16i64(<16 x i64> %words)
  %cpus = call i64 @llvm.vector.reduce.add.v16i64(<16 x i64> %ones)
  %number = load i32, ptr %workers
  %wide = zext i32 %number to i64
  %threads = add i64 %wide, 1
  %all = icmp eq i64 %threads, %cpus
  br i1 %all, label %give, label %end
give:
  %here = call i32 @sched_getcpu()
  store i32 %here, ptr %home
  br label %look
look:
  %cpu = phi i32 [ 0, %give ], [ %following, %skip ], [ %following, %take ]
  %k = phi i64 [ 0, %give ], [ %k, %skip ], [ %k.next, %take ]
  %following = add i32 %cpu, 1
  %byte.index = lshr i32 %cpu, 3
  %byte.place = getelementptr i8, ptr %allowed, i32 %byte.index
  %byte = load i8, ptr %byte.place
  %shift.32 = and i32 %cpu, 7
  %shift = trunc i32 %shift.32 to i8
  %moved = lshr i8 %byte, %shift
  %may = trunc i8 %moved to i1
  %free = icmp ne i32 %cpu, %here
  %good = and i1 %may, %free
  br i1 %good, label %take, label %skip
skip:
  %exhausted = icmp eq i32 %following, 1024
  br i1 %exhausted, label %end, label %look
take:
  call void @pin(ptr %pool, i64 %k, i32 %cpu)
  %k.next = add i64 %k, 1
  %complete = icmp eq i64 %k.next, %wide
  br i1 %complete, label %end, label %look
end:
  ret void
}}
"""

SETTLE = f"""
; Where the caller has moved to a worker's CPU, that worker gets the one that the caller left.
define internal void @settle(ptr %pool) {{
entry:
  {fields("home", "workers")}
  %old = load i32, ptr %home
  %placed = icmp sge i32 %old, 0
  br i1 %placed, label %compare, label %end
compare:
  %here = call i32 @sched_getcpu()
  %same = icmp eq i32 %here, %old
  br i1 %same, label %end, label %search
search:
  %first = getelementptr i8, ptr %pool, i64 {HEADER_BYTES}
  %number = load i32, ptr %workers
  %wide = zext i32 %number to i64
  br label %look
look:
  %k = phi i64 [ 0, %search ], [ %next, %other ]
  %none = icmp eq i64 %k, %wide
  br i1 %none, label %end, label %test
test:
  %place = getelementptr %Worker, ptr %first, i64 %k, i32 1
  %cpu = load i32, ptr %place
  %found = icmp eq i32 %cpu, %here
  br i1 %found, label %swap, label %other
other:
  %next = add i64 %k, 1
  br label %look
swap:
  call void @pin(ptr %pool, i64 %k, i32 %old)
  store i32 %here, ptr %home
  br label %end
end:
  ret void
}}
"""

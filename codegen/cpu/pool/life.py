"""How a pool comes and goes."""

from __future__ import annotations

from .layout import HEADER_BYTES, WORKER_BYTES, fields

CREATE = f"""
; Null, which every caller may use as a pool, for one thread or where there is no memory.
define ptr @mlc_pool_create(i32 %threads) {{
entry:
  %signals = alloca [16 x i64]
  %kept = alloca [16 x i64]
  %one = icmp sle i32 %threads, 1
  br i1 %one, label %none, label %make
none:
  ret ptr null
make:
  %wide = zext i32 %threads to i64
  %wanted = sub i64 %wide, 1
  %records = mul i64 %wanted, {WORKER_BYTES}
  %bytes = add i64 %records, {HEADER_BYTES}
  %lines = add i64 %bytes, 63
  %size = and i64 %lines, -64
  %pool = call ptr @aligned_alloc(i64 64, i64 %size)
  %failed = icmp eq ptr %pool, null
  br i1 %failed, label %none, label %fill
fill:
  call void @llvm.memset.p0.i64(ptr %pool, i8 0, i64 %size, i1 false)
  {fields("process", "workers")}
  %id = call i32 @getpid()
  store i32 %id, ptr %process
  %first = getelementptr i8, ptr %pool, i64 {HEADER_BYTES}
  ; Workers inherit the mask: the process's signals are not for them.
  call i32 @sigfillset(ptr %signals)
  call i32 @pthread_sigmask(i32 2, ptr %signals, ptr %kept)
  br label %start
start:
  %k = phi i64 [ 0, %fill ], [ %more, %started ]
  %complete = icmp eq i64 %k, %wanted
  br i1 %complete, label %end, label %spawn
spawn:
  %handle = getelementptr %Worker, ptr %first, i64 %k
  %error = call i32 @pthread_create(ptr %handle, ptr null, ptr @worker, ptr %pool)
  %refused = icmp ne i32 %error, 0
  br i1 %refused, label %end, label %started
started:
  %more = add i64 %k, 1
  br label %start
end:
  %number = trunc i64 %k to i32
  store i32 %number, ptr %workers
  call i32 @pthread_sigmask(i32 2, ptr %kept, ptr null)
  call void @spread(ptr %pool)
  ret ptr %pool
}}
"""

THREADS = f"""
; How many threads work for a caller, with itself.
define i64 @mlc_pool_threads(ptr %pool) {{
entry:
  %none = icmp eq ptr %pool, null
  br i1 %none, label %alone, label %some
alone:
  ret i64 1
some:
  {fields("workers")}
  %number = load i32, ptr %workers
  %wide = zext i32 %number to i64
  %threads = add i64 %wide, 1
  ret i64 %threads
}}
"""

DESTROY = f"""
; Ends the workers and frees the pool, which must not be at work.
define void @mlc_pool_destroy(ptr %pool) {{
entry:
  %nothing = icmp eq ptr %pool, null
  br i1 %nothing, label %end, label %some
some:
  {fields("claim", "process", "workers")}
  %jobs = getelementptr i32, ptr %claim, i64 1
  %first = getelementptr i8, ptr %pool, i64 {HEADER_BYTES}
  %creator = load i32, ptr %process
  %id = call i32 @getpid()
  %forked = icmp ne i32 %id, %creator
  ; A forked child has the memory of the pool, but none of its threads.
  br i1 %forked, label %release, label %stop
stop:
  store atomic i64 -9223372036854775808, ptr %claim seq_cst, align 8
  call void @wake(ptr %jobs, i32 2147483647)
  %number = load i32, ptr %workers
  %wide = zext i32 %number to i64
  br label %join
join:
  %k = phi i64 [ 0, %stop ], [ %next, %one ]
  %joined = icmp eq i64 %k, %wide
  br i1 %joined, label %release, label %one
one:
  %handle = getelementptr %Worker, ptr %first, i64 %k
  %thread = load i64, ptr %handle
  call i32 @pthread_join(i64 %thread, ptr null)
  %next = add i64 %k, 1
  br label %join
release:
  call void @free(ptr %pool)
  br label %end
end:
  ret void
}}
"""

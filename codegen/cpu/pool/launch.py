"""What a caller does: publish a job, take part in it, wait for the rest."""

from __future__ import annotations

from .layout import ENDS, JOB, Machine, fields

# The chunks of a thread at most; 1024 threads have fewer than can be counted.
_SHARES = 32
# So many groups of neighbours for each thread are claimed one by one; fewer are shared out evenly.
_SOME = 4

PARALLEL = f"""
; Runs on the caller alone what is no more than a chunk, and what is asked for while the pool is at
; work: by another thread, or by the job itself. A negative step says how many neighbours go better
; together, if that leaves something for every thread.
define void @mlc_parallel(ptr %pool, ptr %job, ptr %data, i64 %total, i64 %step) {{
entry:
  %nothing = icmp sle i64 %total, 0
  br i1 %nothing, label %end, label %some
some:
  %no.pool = icmp eq ptr %pool, null
  br i1 %no.pool, label %serial, label %several
several:
  {fields("workers")}
  %number.32 = load i32, ptr %workers
  %wide = zext i32 %number.32 to i64
  %threads = add i64 %wide, 1
  %together = sub i64 0, %step
  %needed = mul i64 %together, %threads
  %plenty = icmp sge i64 %total, %needed
  %tied = icmp slt i64 %step, 0
  %joined = and i1 %plenty, %tied
  ; A few of them for each thread would not end together: equal parts do.
  %last = sub i64 %total, 1
  %part = udiv i64 %last, %threads
  %even = add i64 %part, 1
  %some.each = mul i64 %needed, {_SOME}
  %few = icmp slt i64 %total, %some.each
  %neighbours = select i1 %few, i64 %even, i64 %together
  %wanted = select i1 %joined, i64 %neighbours, i64 %step
  %size = call i64 @llvm.smax.i64(i64 %wanted, i64 1)
  %one = icmp sle i64 %total, %size
  br i1 %one, label %serial, label %split
split:
  ; No more chunks than let the threads end together: each is a claim on one word.
  %most = mul i64 %threads, {_SHARES}
  %above = sub i64 %total, 1
  %least = udiv i64 %above, %most
  %floor = add i64 %least, 1
  %chunk = call i64 @llvm.smax.i64(i64 %size, i64 %floor)
  %full = udiv i64 %above, %chunk
  %parts = add i64 %full, 1
  {fields("lock")}
  %swap = cmpxchg ptr %lock, i32 0, i32 1 acquire monotonic
  %mine = extractvalue {{ i32, i1 }} %swap, 1
  br i1 %mine, label %publish, label %serial
publish:
  {fields("claim", "function", "context", "count", "grain", "pending", "sleepers")}
  store ptr %job, ptr %function
  store ptr %data, ptr %context
  store i64 %total, ptr %count
  store i64 %chunk, ptr %grain
  %parts.32 = trunc i64 %parts to i32
  store atomic i32 %parts.32, ptr %pending monotonic, align 4
  %old = load atomic i64, ptr %claim monotonic, align 8
  %next = add i64 %old, {JOB}
  %number = and i64 %next, {~ENDS & -JOB}
  %word = or i64 %number, %parts
  store atomic i64 %word, ptr %claim seq_cst, align 8
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %all.awake = icmp eq i32 %asleep, 0
  br i1 %all.awake, label %help, label %rouse
rouse:
  %others = sub i32 %parts.32, 1
  %enough = call i32 @llvm.smin.i32(i32 %asleep, i32 %others)
  %jobs = getelementptr i32, ptr %claim, i64 1
  call void @settle(ptr %pool)
  call void @wake(ptr %jobs, i32 %enough)
  br label %help
help:
  %done = call i32 @work(ptr %pool, i1 false)
  call void @join(ptr %pool, i32 %done)
  store atomic i32 0, ptr %lock release, align 4
  ret void
serial:
  call void %job(ptr %data, i64 0, i64 %total)
  br label %end
end:
  ret void
}}
"""


def join(machine: Machine) -> str:
    """How a caller waits."""
    return f"""
; The caller has done its part: waits for the chunks that workers took. Spins, then sleeps.
define internal void @join(ptr %pool, i32 %done) {{
entry:
  {fields("pending", "waiting")}
  %before = atomicrmw sub ptr %pending, i32 %done seq_cst
  %alone = icmp eq i32 %before, %done
  br i1 %alone, label %end, label %spin
spin:
  %round = phi i32 [ 0, %entry ], [ %next, %again ]
  %left = load atomic i32, ptr %pending acquire, align 4
  %finished = icmp eq i32 %left, 0
  br i1 %finished, label %end, label %again
again:
  call {machine.pause}
  %next = add i32 %round, 1
  %tired = icmp eq i32 %next, {machine.spins}
  br i1 %tired, label %doze, label %spin
doze:
  call void @settle(ptr %pool)
  store atomic i32 1, ptr %waiting seq_cst, align 4
  br label %check
check:
  %last = load atomic i32, ptr %pending seq_cst, align 4
  %over = icmp eq i32 %last, 0
  br i1 %over, label %awake, label %sleep
sleep:
  call void @sleep_while(ptr %pending, i32 %last)
  br label %check
awake:
  store atomic i32 0, ptr %waiting monotonic, align 4
  br label %end
end:
  ret void
}}
"""

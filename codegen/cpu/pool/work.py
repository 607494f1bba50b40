"""What workers do: take chunks, report them, wait for more.

Callers and every other worker take chunks from the front, the rest from the back, so that each
thread goes through neighbours, which share what they read: with chunks taken in turn, both caches
of two cores would hold all weights, not half of them each.
"""

from __future__ import annotations

from .layout import ENDS, FRONT, JOB, Machine, fields

WORK = f"""
; Takes chunks until none is left, from the front or from the back. Gives how many.
define internal i32 @work(ptr %pool, i1 %back) {{
entry:
  {fields("claim", "function", "context", "count", "grain")}
  %step = select i1 %back, i64 1, i64 -{FRONT - 1}
  br label %look
look:
  %done = phi i32 [ 0, %entry ], [ %done, %take ], [ %more, %run ]
  %word = load atomic i64, ptr %claim acquire, align 8
  %left = and i64 %word, {FRONT - 1}
  %none = icmp eq i64 %left, 0
  br i1 %none, label %end, label %take
take:
  %rest = sub i64 %word, %step
  %swap = cmpxchg ptr %claim, i64 %word, i64 %rest acq_rel monotonic, align 8
  %taken = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %taken, label %run, label %look
run:
  ; The job stays as it is while a chunk that was taken is not finished.
  %f = load ptr, ptr %function
  %c = load ptr, ptr %context
  %n = load i64, ptr %count
  %size = load i64, ptr %grain
  %low = and i64 %word, {JOB - 1}
  %front = lshr i64 %low, {FRONT.bit_length() - 1}
  %behind = add i64 %front, %left
  %last = sub i64 %behind, 1
  %number = select i1 %back, i64 %last, i64 %front
  %begin = mul i64 %number, %size
  %room = sub i64 %n, %begin
  %length = call i64 @llvm.umin.i64(i64 %room, i64 %size)
  %stop = add i64 %begin, %length
  call void %f(ptr %c, i64 %begin, i64 %stop)
  %more = add i32 %done, 1
  br label %look
end:
  ret i32 %done
}}
"""

FINISH = f"""
; A worker says that it has finished its chunks.
define internal void @finish(ptr %pool, i32 %done) {{
entry:
  %idle = icmp eq i32 %done, 0
  br i1 %idle, label %end, label %report
report:
  {fields("pending", "waiting")}
  %before = atomicrmw sub ptr %pending, i32 %done seq_cst
  %last = icmp eq i32 %before, %done
  br i1 %last, label %check, label %end
check:
  ; Either this sees that the caller sleeps, or the caller sees that nothing is pending.
  %sleeps = load atomic i32, ptr %waiting seq_cst, align 4
  %quiet = icmp eq i32 %sleeps, 0
  br i1 %quiet, label %end, label %signal
signal:
  call void @wake(ptr %pending, i32 1)
  br label %end
end:
  ret void
}}
"""


def rest(machine: Machine) -> str:
    """How a worker waits."""
    return f"""
; Waits for chunks to take; false when the pool ends. Spins for a while, then sleeps.
define internal i1 @rest(ptr %pool) {{
entry:
  {fields("claim", "sleepers")}
  %jobs = getelementptr i32, ptr %claim, i64 1
  br label %start
start:
  br label %spin
spin:
  %round = phi i32 [ 0, %start ], [ %next, %again ]
  %word = load atomic i64, ptr %claim acquire, align 8
  %ends = icmp slt i64 %word, 0
  br i1 %ends, label %ended, label %live
ended:
  ret i1 false
live:
  %left = and i64 %word, {FRONT - 1}
  %none = icmp eq i64 %left, 0
  br i1 %none, label %again, label %found
found:
  ret i1 true
again:
  call {machine.pause}
  %next = add i32 %round, 1
  %tired = icmp eq i32 %next, {machine.spins}
  br i1 %tired, label %doze, label %spin
doze:
  ; Either the publisher sees the sleeper, or this sees the job.
  atomicrmw add ptr %sleepers, i32 1 seq_cst
  %last = load atomic i64, ptr %claim seq_cst, align 8
  %news = and i64 %last, {ENDS | (FRONT - 1)}
  %calm = icmp eq i64 %news, 0
  br i1 %calm, label %sleep, label %awake
sleep:
  %high = lshr i64 %last, 32
  %job = trunc i64 %high to i32
  call void @sleep_while(ptr %jobs, i32 %job)
  br label %awake
awake:
  atomicrmw sub ptr %sleepers, i32 1 seq_cst
  br label %start
}}
"""


WORKER = f"""
define internal ptr @worker(ptr %pool) {{
entry:
  {fields("started")}
  %number = atomicrmw add ptr %started, i32 1 monotonic
  %odd = trunc i32 %number to i1
  %back = xor i1 %odd, true
  br label %loop
loop:
  %done = call i32 @work(ptr %pool, i1 %back)
  call void @finish(ptr %pool, i32 %done)
  %live = call i1 @rest(ptr %pool)
  br i1 %live, label %loop, label %end
end:
  ret ptr null
}}
"""

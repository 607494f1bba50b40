"""The emitter: loop-level IR to LLVM IR text, one handler an op; it takes no decisions."""

from .module import emit_module as emit_module

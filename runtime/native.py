"""Runs native code: one call frame a run, contexts reused between runs and shared by no two."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .artifact import Artifact
from .errors import RunError
from .loader import Library, check_target
from .memory import address_of, adopt, block, free, on_huge_pages
from .recycle import Recycler
from .signature import Signature
from .threads import Pool, pool_of


class _Frame(ctypes.Structure):
    """``struct mlc_call``."""

    _fields_ = [
        ("inputs", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("symbols", ctypes.c_void_p),
        ("arena", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("expanded", ctypes.c_void_p),
        ("pool", ctypes.c_void_p),
        ("profile", ctypes.c_void_p),
        ("detail", ctypes.c_int64),
    ]


@dataclass(frozen=True)
class NativePlan:
    """What the shapes of the inputs decide.

    Attributes:
        symbols: Their values, those of late ones 0.
        outputs: Shape and dtype of each output; None where only the run tells the shape.
        arena: Bytes of scratch memory.
    """

    symbols: ctypes.Array[ctypes.c_int64]
    outputs: tuple[tuple[tuple[int, ...], np.dtype] | None, ...]
    arena: int


class _Context:
    """A call frame with its arrays and its arena."""

    def __init__(self, signature: Signature):
        self.frame = _Frame()
        self.address = ctypes.addressof(self.frame)
        self.inputs = (ctypes.c_void_p * len(signature.inputs))()
        self.outputs = (ctypes.c_void_p * len(signature.outputs))()
        self.symbols = (ctypes.c_int64 * len(signature.symbols))()
        self.arena = block(0)
        self.frame.inputs = ctypes.addressof(self.inputs)
        self.frame.outputs = ctypes.addressof(self.outputs)
        self.frame.symbols = ctypes.addressof(self.symbols)

    def reserve(self, size: int) -> None:
        if self.arena.nbytes < size:
            self.arena = block(size)
            self.frame.arena = address_of(self.arena)


class NativeEngine:
    """An artifact's code and weights, ready to be called from several threads at once."""

    def __init__(self, artifact: Artifact, signature: Signature, threads: int):
        check_target(artifact.manifest.get("target", {}))
        self._signature = signature
        self._artifact = artifact
        self._library = Library(artifact.objects())
        self._pool = pool_of(threads, self._library, str(artifact.manifest.get("pool", "")))
        expansion = artifact.manifest.get("expansion", {})
        weights = artifact.weights[: expansion.get("start")]
        self._weights = on_huge_pages(weights) if artifact.mapped else weights
        self._expanded = block(int(expansion.get("size", 0)))
        self._errors = tuple(str(e) for e in artifact.manifest.get("errors", ()))
        self._sites = len(artifact.manifest.get("sites", ()))
        self._any_late = any(signature.late_outputs)
        self._run = self._library.run
        self._free: list[_Context] = []
        self._results = Recycler(len(signature.outputs))
        self._expand()

    @property
    def pool(self) -> Pool:
        """The threads that runs share."""
        return self._pool

    def plan(self, arrays: Sequence[np.ndarray]) -> NativePlan:
        """Checks shapes and works out everything that follows from them.

        Raises:
            InputError: The arrays do not fit, or the results would be too large.
        """
        signature = self._signature
        symbols = (ctypes.c_int64 * len(signature.symbols))(*signature.bind(arrays))
        dims = self._dims(self._library.input_shapes, symbols, [a.ndim for a in arrays])
        signature.check_dims(arrays, [d for shape in dims for d in shape])
        shapes = self._output_shapes(symbols)
        outputs = tuple(
            None if late else (shape, spec.dtype)
            for spec, shape, late in zip(
                signature.outputs, shapes, signature.late_outputs, strict=True
            )
        )
        arena = self._library.arena_size(ctypes.addressof(symbols))
        signature.check_sizes([o[0] if o else () for o in outputs], arena)
        return NativePlan(symbols, outputs, arena)

    def execute(
        self, plan: NativePlan, arrays: Sequence[np.ndarray], profile: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """One run.

        Raises:
            RunError: The model refused a value, such as an index out of range.
        """
        context = self._context(plan)
        frame = context.frame
        pointers = context.inputs
        for i, array in enumerate(arrays):
            pointers[i] = address_of(array)
        results = self._results.arrays(plan.outputs)
        pointers = context.outputs
        for i, result in enumerate(results):
            pointers[i] = None if result is None else address_of(result)
        frame.pool = self._pool.handle
        frame.profile = None if profile is None else address_of(profile)
        code = self._run(context.address)
        if code:
            raise self._error(code, context)
        self._take_late(context, results)
        self._free.append(context)
        return results  # pyright: ignore[reportReturnType]

    def profile(self, plan: NativePlan, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Cycles spent at each launch site during one run."""
        cycles = np.zeros(max(1, self._sites), np.int64)
        self.execute(plan, arrays, cycles)
        return cycles[: self._sites]

    def _context(self, plan: NativePlan) -> _Context:
        try:
            context = self._free.pop()
        except IndexError:
            context = self._new_context()
        context.reserve(plan.arena)
        if plan.symbols:
            context.symbols[:] = plan.symbols
        return context

    def _new_context(self) -> _Context:
        context = _Context(self._signature)
        context.frame.weights = address_of(self._weights)
        context.frame.expanded = address_of(self._expanded)
        return context

    def _expand(self) -> None:
        """Makes the weights that the artifact holds in a smaller form, of its last ones."""
        context = self._new_context()
        context.frame.weights = address_of(self._artifact.weights)
        context.frame.pool = self._pool.handle
        self._library.expand(context.address)

    def _take_late(self, context: _Context, results: list[np.ndarray | None]) -> None:
        if not self._any_late:
            return
        shapes = self._output_shapes(context.symbols)
        for i, late in enumerate(self._signature.late_outputs):
            if late:
                dtype = self._signature.outputs[i].dtype
                results[i] = adopt(context.outputs[i] or 0, shapes[i], dtype)

    def _error(self, code: int, context: _Context) -> RunError:
        for i, late in enumerate(self._signature.late_outputs):
            if late:
                free(context.outputs[i] or 0)
        known = 0 < code <= len(self._errors)
        text = self._errors[code - 1] if known else f"native code failed with error {code}"
        self._free.append(context)
        return RunError(text.replace("{detail}", str(context.frame.detail)))

    def _output_shapes(self, symbols: ctypes.Array[ctypes.c_int64]) -> list[tuple[int, ...]]:
        ranks = [len(o.shape) for o in self._signature.outputs]
        return self._dims(self._library.output_shapes, symbols, ranks)

    def _dims(self, function, symbols, ranks: Sequence[int]) -> list[tuple[int, ...]]:
        dims = (ctypes.c_int64 * sum(ranks))()
        function(ctypes.addressof(symbols), ctypes.addressof(dims))
        values = iter(dims)
        return [tuple(next(values) for _ in range(rank)) for rank in ranks]

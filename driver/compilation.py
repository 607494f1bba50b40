"""The whole plot: source, cache, import, simplification, code, model."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.errors import TargetError
from ..runtime import Artifact, Model
from ..runtime.threads import thread_count
from .cache import Cache, cache_at, notes_in
from .compression import Compression
from .fingerprint import digest_of_compiler, digest_of_values
from .foreign import model_of
from .gpu import Gpu, check_tunable
from .known_files import KnownFiles
from .metric import Score
from .source import Given, Source, source_of
from .stages import Stages
from .targets import NativeTarget, Target, target_named

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..codegen.choice import Chooser
    from ..passes.compress.recipe import Recipe
    from .recovery import Recovery

# Bytes of weights from which on memory is worth the time to collect it.
_LARGE = 1 << 26
# To compute each kernel for a GPU, where they are to be measured.
_WAYS = 6


def compile(
    model: Any,
    *,
    target: str = "cpu",
    inputs: Any = None,
    shapes: Mapping[str, Any] | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
    dynamic_shapes: Any = None,
    threads: int | None = None,
    exact: bool = False,
    precision: str = "f32",
    tune: bool = False,
    candidates: int | None = None,
    recipe: Recipe | None = None,
    calibration: Any = None,
    validation: Any = None,
    metric: Score | None = None,
    max_drop: float | None = None,
    measure: bool = False,
    recovery: Recovery | None = None,
    cache: bool | str | os.PathLike[str] = True,
    verify: bool = False,
    verbose: bool = False,
) -> Model:
    """Compiles a model.

    >>> model = mlc.compile("resnet50.onnx")
    >>> model = mlc.compile(module, inputs=(torch.zeros(1, 3, 224, 224),))

    Args:
        model: The path or bytes of an ONNX model, an ``onnx.ModelProto``, a ``torch.nn.Module``
            (also an ``fx.GraphModule``), a torch ``ExportedProgram``, or a module of mlc's IR.
        target: ``cpu`` is this machine, ``reference`` the interpreter; ``mlc targets`` lists all.
        inputs: Example inputs: what a torch module is traced with, by position or by name; for an
            ONNX model, by name, whose shapes become the only ones.
        shapes: Fixes shapes of ONNX inputs, or values of its symbolic dims, by name.
        constants: Values of inputs that never change, by name: they become weights.
        dynamic_shapes: Of a torch module, as in ``torch.export.export``.
        threads: Threads to run on; by default ``MLC_THREADS``, else every CPU.
        exact: Whether to leave out algorithms that round more than plain sums do, such as
            Winograd's and Strassen's, which move a result by about 1e-6 of its norm.
        precision: ``bf16`` stores weights, and values on their way from layer to layer, in 16 bits,
            and multiplies them so where the CPU can; sums, norms and softmax stay in float32. That
            rounds each stored element by up to 0.4 %. On GPUs, ``f16`` does the same with a
            rounding of 0.05 %, for values of up to 65504, and ``tf32`` rounds what is multiplied
            alone. ``model.report["precision"]`` tells whether it was done.
        tune: Whether to measure on this machine what is otherwise chosen by estimate: algorithms
            and tile sizes of kernels whose sizes are fixed. It takes up to a minute, once: winners
            are kept in the cache. A model for a GPU can be tuned where it runs: ``Model.tune``.
        candidates: How many ways to compute each kernel an artifact for GPUs holds, to be measured
            where it runs; by default 6 with ``tune``, else 1.
        recipe: How to compress the model; None leaves it as it is.
        calibration: Batches of inputs for recipes that need data: each a dict by name, a sequence,
            or the array of the only input; or one dict of arrays (or the one array), which is cut
            into batches. ``labels`` in a dict are left out.
        validation: Inputs like those, to judge the compressed model by: if they are one dict of
            arrays and it has ``labels``, by its accuracy, else by its agreement with the floats.
        metric: A function of a model that says how good it is, instead.
        max_drop: How much that may fall: the layers that lose most are left in floats until the
            bound holds. Without validation data, calibration data judge.
        measure: Whether the report compares each layer's result and time with the float model's.
        recovery: How to train what was compressed; see ``recover``.
        cache: Whether to keep compiled models on disk (``$MLC_CACHE``, else ``~/.cache/mlc``, up
            to ``$MLC_CACHE_SIZE`` gigabytes), or the folder to keep them in.
        verify: Check the program after each pass.
        verbose: Tell on stderr what is going on.

    Raises:
        MlcError: The model is damaged, or holds something unsupported (the message lists it all),
            or the target is unknown, or cannot be tuned for.
        RecipeError: The recipe does not fit the model, or the calibration data; all that is wrong
            is listed, before any work is done.
    """
    given = Given(inputs, dict(constants or {}), dict(shapes or {}), dynamic_shapes)
    stages = Stages.watched(verbose)
    source = source_of(model, given)
    usual = _WAYS if tune and target.startswith("cuda") else 1
    ways = usual if candidates is None else candidates
    chosen = target_named(target, exact, precision, ways)
    if tune and chosen is None:
        raise TargetError(f"nothing can be tuned for '{target}': it has no choices to measure")
    if tune and isinstance(chosen, Gpu):
        check_tunable(chosen)
    threads = thread_count(threads)
    judging = (validation, metric, max_drop, measure)
    asked = Compression(recipe, calibration, threads, *judging, recovery)
    if chosen is None:
        from .reference import reference_model

        with stages("import"):
            module = source.load()
        asked.apply_simplified(module, stages)
        return reference_model(module)
    kept = cache_at(cache if asked.is_reproducible else False)
    tuned = threads if tune and isinstance(chosen, NativeTarget) else 0
    artifact = _Compilation(source, chosen, kept, verify, stages, asked, tuned).artifact()
    made = model_of(artifact, threads, notes_in(kept))
    if tune and isinstance(chosen, Gpu) and "tuned" not in made.manifest["cuda"]:
        with stages("tune"):
            made.tune()
    return made


class _Compilation:
    def __init__(
        self,
        source: Source,
        target: Target,
        cache: Cache | None,
        verify: bool,
        stages: Stages,
        compression: Compression,
        tuned: int,
    ):
        self.source = source
        self.target = target
        self.cache = cache
        self.verify = verify
        self.stages = stages
        self.compression = compression
        self.tuned = tuned

    def artifact(self) -> Artifact:
        """From the cache, which is asked before the model is read where that is possible."""
        digest = self._digest_of_source()
        found = self._find(digest)
        if found is None:
            found = self._make(digest)
            if found.weights.nbytes > _LARGE:
                gc.collect()  # the IR is full of cycles, and holds the model's file
        return found

    def _make(self, digest: str) -> Artifact:
        with self.stages("import"):
            module = self.source.load()
        if self.cache and not digest:
            digest = self._digest_of(module)
            found = self._find(digest)
            if found is not None:
                return found
        return self._compile(module, digest)

    def _compile(self, module: ModuleOp, digest: str) -> Artifact:
        from ..passes.manager import Options, run_passes
        from ..passes.pipeline import pipeline
        from .report import origins

        options = Options(verify=self.verify)
        rounding = self.target.rounding()
        if "why" in rounding:
            self.stages.note(
                f"{rounding['used']} instead of {rounding['asked']}: {rounding['why']}"
            )
        report: dict[str, Any] = {"nodes": origins(module), "precision": rounding}
        with self.stages("simplify"):
            run_passes(module, pipeline(), options)
        report |= self.compression.apply(module, self.stages, self.target)
        target = self.target
        choose = self._tune(module, target) if isinstance(target, NativeTarget) else None
        made = target.compile(module, options, self.stages, choose)
        if "compression" in report:
            from .kernel_reasons import tell_kernels

            tell_kernels(report["compression"]["layers"], made.manifest["sites"])
        report["seconds"] = self.stages.seconds
        artifact = replace(made, manifest={**made.manifest, "report": report})
        if self.cache:
            with self.stages("store in cache"):
                problem = self.cache.keep(self._key(digest), artifact)
            if problem:
                self.stages.note(problem)
        return artifact

    def _tune(self, module: ModuleOp, target: NativeTarget) -> Chooser | None:
        """What is measured to be fastest on as many threads as the model will run on."""
        if not self.tuned:
            return None
        from .tuner import Tuner

        tuner = Tuner(target, self.tuned, notes_in(self.cache))
        with self.stages("tune"):
            tuner.tune(module)
        return tuner.recall

    def _find(self, digest: str) -> Artifact | None:
        if not self.cache or not digest:
            return None
        with self.stages("look in cache"):
            return self.cache.find(self._key(digest))

    def _key(self, digest: str) -> str:
        target = self.target.precision, asdict(self.target.facts), self.tuned
        return digest_of_values(digest, target, digest_of_compiler(), self.compression.digest())

    def _digest_of_source(self) -> str:
        if not self.cache:
            return ""
        with self.stages("read"):
            return self.source.digest(KnownFiles(notes_in(self.cache)))

    def _digest_of(self, module: ModuleOp) -> str:
        from .fingerprint import digest_of_module

        with self.stages("digest weights"):
            return digest_of_module(module)

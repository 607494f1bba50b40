"""Tuning: what code generation chooses by estimate is measured on this machine, and remembered.

The scheduler asks for every choice: about a kernel, or a convolution that is still in the graph,
the name of what is to be chosen, and the options, first the one that estimates prefer. What was
noted is answered again. Else what is asked about becomes a model of its own for each option; these
run in turn, and the fastest is noted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import inf
from typing import TypeVar

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from .. import __version__
from ..codegen.choice import Option
from ..codegen.cpu.build import assemble, build, lower
from ..codegen.cpu.excerpt import excerpt
from ..codegen.cpu.schedule import Scheduler
from ..codegen.cpu.templates.frame import static
from ..ir.dims import is_static
from ..ir.errors import TargetError
from ..ir.kernel import KernelOp
from ..ir.module import main_function
from ..ir.op import GraphOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.conv import ConvOp
from ..ir.text import print_module
from ..ir.types import type_of
from ..runtime import Artifact, ArtifactError, Model
from ..runtime.loader import check_target
from ..runtime.memory import block
from ..runtime.notes import Notes
from ..runtime.progress import Progress
from ..runtime.random_inputs import random_array
from .fingerprint import digest_of_values
from .targets import NativeTarget

T = TypeVar("T")

# What tuning a model may take, and measuring one choice.
_SECONDS, _SECONDS_EACH = 50.0, 2.0
# Runs of each option; those that are behind after some are not run again.
_ROUNDS, _HEAT = 24, 4
_BEHIND = 1.25
# What must be gained for estimates to be overruled.
_WORTH = 0.98
# Bytes of weights that no cache holds: runs find them in memory.
_LARGE = 1 << 26
_COPIES = 8


class Tuner:
    """Answers the scheduler's questions about a model.

    Attributes:
        target: Code is made for; it must run on this machine.
        threads: That kernels run on.
        notes: What is remembered.
    """

    def __init__(self, target: NativeTarget, threads: int, notes: Notes):
        self.target = target
        self.threads = threads
        self.notes = notes
        self._cold = False
        self._end = inf

    def tune(self, module: ModuleOp) -> None:
        """Measures what there is to choose for a simplified module, which is left as it is.

        Raises:
            TargetError: This machine does not run code for the target.
        """
        self._check_target()
        copy, facts = module.clone(), self.target.facts
        self._end = time.monotonic() + _SECONDS
        self._cold = _weight_bytes(module) >= _LARGE
        asked = Progress("tuning convolutions", len(_ops(copy, ConvOp)))
        seen: dict[GraphOp | KernelOp, Option] = {}

        def ask(subject: GraphOp | KernelOp, name: str, options: Sequence[Option]) -> Option:
            if subject not in seen:
                asked.show(len(seen), _title(subject))
                seen[subject] = self.measure(subject, name, options)
            return seen[subject]

        lower(copy, facts, choose=ask)
        asked.end()
        kernels = _ops(copy, KernelOp)
        scheduler, asked = Scheduler(facts, self.measure), Progress("tuning kernels", len(kernels))
        for number, kernel in enumerate(kernels):
            asked.show(number, _title(kernel))
            scheduler.code(kernel)
        asked.end()

    def _check_target(self) -> None:
        try:
            check_target(asdict(self.target.facts))
        except ArtifactError as error:
            raise TargetError(
                f"nothing can be measured for '{self.target.name}': {error}"
            ) from None

    def recall(self, subject: GraphOp | KernelOp, name: str, options: Sequence[Option]) -> Option:
        """What was measured to be fastest; the estimates' choice where nothing was."""
        return self._noted(self._key(excerpt(subject), name), options) or options[0]

    def measure(self, subject: GraphOp | KernelOp, name: str, options: Sequence[Option]) -> Option:
        """What is measured to be fastest, now or before."""
        module = excerpt(subject)
        key = self._key(module, name)
        noted = self._noted(key, options)
        if noted or len(options) == 1 or not _is_static(module) or time.monotonic() > self._end:
            return noted or options[0]
        models = [self._models(subject, name, option) for option in options]
        best = int(np.argmin(self._times(models)))
        if best:  # once more, against what it would replace
            before, after = self._times([models[0], models[best]])
            best = best if after < _WORTH * before else 0
        self.notes.keep({key: list(options[best])})
        return options[best]

    def _key(self, module: ModuleOp, name: str) -> str:
        text = re.sub(r'"w\d+"', '"w"', print_module(module))  # whichever weights
        machine = digest_of_values(asdict(self.target.facts), self.threads, __version__)
        return f"{name} of {digest_of_values(text)[:16]} on {machine[:16]}"

    def _noted(self, key: str, options: Sequence[Option]) -> Option | None:
        noted = self.notes.find(key)
        found = tuple(noted) if isinstance(noted, list) else ()
        return found if found in options else None

    def _models(self, subject: GraphOp | KernelOp, name: str, option: Option) -> list[Model]:
        """What is asked about, computed by an option; several where weights come from memory."""
        artifact = self._artifact(subject, name, option)
        size = artifact.weights.nbytes
        copies = min(_COPIES, _LARGE // (3 * size)) if self._cold and size else 1
        weights = [artifact.weights, *(_copied(artifact.weights) for _ in range(copies - 1))]
        made = [replace(artifact, weights=w) for w in weights]
        return [Model.from_artifact(a, threads=self.threads) for a in made]

    def _artifact(self, subject: GraphOp | KernelOp, name: str, option: Option) -> Artifact:
        module, facts = excerpt(subject), self.target.facts
        if isinstance(subject, KernelOp):
            (kernel,) = _ops(module, KernelOp)
            kernel.choose(subject.decided | {name: option})
            return self.target.artifact(module, assemble(module, facts))
        made = build(module, facts, choose=lambda _, n, o: option if n == name else o[0])
        return self.target.artifact(module, made)

    def _times(self, contestants: Sequence[Sequence[Model]]) -> list[float]:
        """Cycles of the fastest run of each."""
        feeds = _feeds(contestants[0][0])
        best = [inf] * len(contestants)
        end = time.monotonic() + _SECONDS_EACH
        for turn in range(_ROUNDS):
            for number, models in enumerate(contestants):
                if turn < _HEAT or best[number] < _BEHIND * min(best):
                    cycles = sum(models[turn % len(models)].profile(feeds))
                    best[number] = min(best[number], cycles) if turn else inf
            if turn and time.monotonic() > end:
                break
        return best


def _feeds(model: Model) -> Mapping[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {s.name: random_array(rng, s, s.shape) for s in model.inputs}  # pyright: ignore


def _copied(weights: np.ndarray) -> np.ndarray:
    copy = block(weights.nbytes)
    copy[:] = weights
    return copy


def _weight_bytes(module: ModuleOp) -> int:
    types = [type_of(op.results[0]) for op in _ops(module, ConstantOp)]
    return sum(static(type.shape) * type.dtype.itemsize for type in types)


def _ops(module: ModuleOp, kind: type[T]) -> list[T]:
    return [op for op in main_function(module).body.block.ops if isinstance(op, kind)]


def _is_static(module: ModuleOp) -> bool:
    values = [v for op in module.walk() for v in (*op.operands, *op.results)]
    return all(is_static(type_of(v).shape) for v in values)


def _title(subject: GraphOp | KernelOp) -> str:
    ops = subject.ops if isinstance(subject, KernelOp) else [subject]
    return " ".join(dict.fromkeys(op.name.removeprefix("mlc.") for op in ops))

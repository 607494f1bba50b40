"""Trains the weights of a compressed graph to compute what the original computes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from xdsl.dialects.builtin import ModuleOp

from ...ir.errors import MlcError
from .execute import BY_REFERENCE, torch_module
from .latents import Floats, Latent, Trainable, latent_of
from .tensors import numpy_view, torch_view

Batch = Sequence[np.ndarray]
Pair = tuple[torch.Tensor, torch.Tensor]
Masks = Callable[[Sequence[np.ndarray], float], Sequence[np.ndarray]]
_WARM = 0.05
# Pruning takes so much of the training, in so many steps, the first of them the largest.
_PRUNING, _TIMES = 0.5, 20
_TINY = 1e-12


@dataclass(frozen=True)
class Training:
    """How long and how fast to train.

    Attributes:
        steps: Batches to train on, over and over again.
        minutes: To stop after, whatever was done.
        rate: How far a step moves a weight, as a share of its matrix's root mean square.
        layers: How much the results of layers count beside those of the model.
        classes: Whether the model's results are scores of classes, which become probabilities.
        seed: Of the order of the batches.
        threads: For torch.
    """

    steps: int
    minutes: float
    rate: float
    layers: float
    classes: bool
    seed: int
    threads: int


@dataclass(frozen=True)
class Trained:
    """What training gave: arrays for the constants of each weight, and the errors on the way.

    The errors are shares of what the original computes, squared: a mean over all compared values.
    They are equal if it helped nothing: then the arrays are those from before.
    """

    arrays: list[list[np.ndarray]]
    steps: int
    before: float
    after: float

    def shortfall(self, training: Training) -> str | None:
        """What did not come as asked, in words."""
        found = []
        if self.steps < training.steps:
            found.append(f"ended after {self.steps} of {training.steps} steps for want of minutes")
        if self.after == self.before:
            found.append("helped nothing: the weights are as they were compressed, untrained")
        return f"recovery {' and '.join(found)}" if found else None


def distill(
    teacher: ModuleOp,
    student: ModuleOp,
    weights: Sequence[Trainable],
    masks: Masks,
    batches: Sequence[Batch],
    results: int,
    training: Training,
    progress: Callable[[str, int, int], None],
) -> Trained:
    """Trains ``weights``, which ``student`` takes as inputs behind its others.

    Args:
        teacher: Gives what the student has to compute, value by value.
        student: The compressed graph.
        weights: Constants, or what decodes constants, and where zeros must stay.
        masks: Where those stay that begin whole, given the score of each element of each, and the
            share of the zeros that are to be there.
        batches: Inputs of both.
        results: How many of the values, from the first, are the model's own.
        training: How long, how fast.
        progress: Is told about every step.

    Raises:
        MlcError: Torch has no gradient of some op.
    """
    run = torch_module(student, trains=True)
    if run.meta[BY_REFERENCE]:
        names = ", ".join(dict.fromkeys(run.meta[BY_REFERENCE]))
        raise MlcError(f"cannot train: torch has no function, and so no gradient, for {names}")
    latents = [latent_of(weight) for weight in weights]
    fading = [
        (latent, weight.whole)
        for latent, weight in zip(latents, weights, strict=True)
        if isinstance(latent, Floats) and weight.whole is not None
    ]
    with _threads(training.threads):
        both = torch_module(teacher), run
        made = _Distillation(*both, latents, batches, results, training)
        return made.run(_Pruning(fading, masks, made.optimizer), progress)


class _Pruning:
    """Weights that begin whole and lose elements step by step.

    Which matter least is told by their squares and the mean squares of their gradients, which Adam
    knows: that is about how much the error grows without them (LeCun, Denker and Solla, "Optimal
    brain damage", 1989; Theis et al., "Faster gaze prediction with dense networks and Fisher
    pruning", 2018). How many are gone follows a cubic (Zhu and Gupta, "To prune, or not to prune",
    2017).
    """

    def __init__(
        self,
        fading: Sequence[tuple[Floats, np.ndarray]],
        masks: Masks,
        optimizer: torch.optim.Optimizer,
    ):
        self.fading = fading
        self.masks = masks
        self.optimizer = optimizer
        self.times = 0

    def begin(self) -> None:
        """All are whole."""
        for latent, whole in self.fading:
            latent.begin_as(whole)

    def follow(self, share: float) -> None:
        """As many are gone as belongs there after a ``share`` of the training."""
        times = min(int(_TIMES * share / _PRUNING), _TIMES)
        if times == self.times:
            return
        self.times = times
        scores = [numpy_view(self._scores(latent)) for latent, _ in self.fading]
        stay = self.masks(scores, 1 - (1 - times / _TIMES) ** 3)
        for (latent, _), mask in zip(self.fading, stay, strict=True):
            latent.mask = torch.tensor(mask)

    def _scores(self, latent: Floats) -> torch.Tensor:
        squares = latent().detach().square()
        gradients = self.optimizer.state[latent.weight].get("exp_avg_sq")
        return squares if gradients is None else squares * gradients


class _Distillation:
    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        latents: Sequence[Latent],
        batches: Sequence[Batch],
        results: int,
        training: Training,
    ):
        self.results = results
        self.teacher = teacher
        self.student = student
        self.latents = latents
        self.batches = [[torch_view(a) for a in batch] for batch in batches]
        self.training = training
        groups = _groups(self.latents, training.rate)
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98), fused=True)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def run(self, pruning: _Pruning, progress: Callable[[str, int, int], None]) -> Trained:
        begun, before = self._arrays(), self._mean_error()
        pruning.begin()
        start, done = time.monotonic(), 0
        for done, batch in enumerate(self._order(), 1):
            share = (time.monotonic() - start) / (60 * self.training.minutes)
            share = max(share, (done - 1) / self.training.steps)
            pruning.follow(share)
            self._step(batch, share)
            progress("train", done, self.training.steps)
            if share >= 1:
                break
        pruning.follow(1.0)
        after = self._mean_error()
        fine = math.isfinite(after) and after < before
        return Trained(self._arrays() if fine else begun, done, before, min(before, after))

    def _order(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.training.seed)
        left: list[int] = []
        for _ in range(self.training.steps):
            left = left or torch.randperm(len(self.batches), generator=generator).tolist()
            yield left.pop()

    def _step(self, batch: int, share: float) -> None:
        factor = min(share / _WARM, 1) * (1 + math.cos(math.pi * min(share, 1))) / 2
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad()
        self._error(batch).backward()
        nn.utils.clip_grad_norm_([p for m in self.latents for p in m.parameters()], 1.0)
        self.optimizer.step()

    def _error(self, batch: int) -> torch.Tensor:
        """The mean error of the model's results, and that of layers, weighed."""
        inputs = self.batches[batch]
        with torch.no_grad():
            wanted = self.teacher(*inputs)
        got = self.student(*inputs, *(latent() for latent in self.latents))
        pairs = list(zip(got, wanted, strict=True))
        own, others = pairs[: self.results], pairs[self.results :]
        compare = _divergence if self.training.classes else _noise
        return _mean(own, compare) + self.training.layers * _mean(others, _noise)

    def _mean_error(self) -> float:
        with torch.no_grad():
            return sum(float(self._error(k)) for k in range(len(self.batches))) / len(self.batches)

    def _arrays(self) -> list[list[np.ndarray]]:
        return [latent.arrays() for latent in self.latents]


def _groups(latents: Sequence[Latent], rate: float) -> list[dict[str, object]]:
    """Weights move in proportion to their size, the logarithms of scales by a tenth of that."""
    groups: list[dict[str, object]] = []
    for latent in latents:
        size = float(latent.weight.detach().square().mean().sqrt()) or 1.0
        groups.append({"params": [latent.weight], "lr": rate * size})
        others = [p for p in latent.parameters() if p is not latent.weight]
        groups += [{"params": others, "lr": rate / 10}] if others else []
    return groups


def _mean(pairs: Sequence[Pair], compare: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Over values of floats."""
    errors = [compare(got, wanted) for got, wanted in pairs if wanted.is_floating_point()]
    return torch.stack(errors).mean() if errors else torch.zeros(())


def _divergence(got: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far the probabilities of classes, along the last dim, are from those wanted."""
    told, truth = nn.functional.log_softmax(got, -1), nn.functional.softmax(wanted, -1)
    return nn.functional.kl_div(told, truth, reduction="none").sum(-1).mean()


def _noise(got: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return (got - wanted).square().sum() / (wanted.square().sum() + _TINY)


class _threads:
    """Torch on some threads, for a while."""

    def __init__(self, count: int):
        self.count = count

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.count)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)

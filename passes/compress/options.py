"""What may be asked for of each compression, and what is wrong with it in itself.

This file imports neither xDSL nor numpy, like the recipe that it is a part of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from numbers import Integral, Real

from ...ir.errors import did_you_mean

SCHEMES = ("weights", "static", "dynamic")
ROUNDINGS = ("auto", "nearest", "hqq", "gptq", "awq")
RANGES = ("min-max", "percentile", "mse", "entropy")
PRUNINGS = ("magnitude", "wanda", "sparsegpt")
SCOPES = ("layer", "model", "sensitivity")
FACTORIZATIONS = ("auto", "svd", "activation")
FORMS = ("matrix", "tucker", "cp", "train")
MEASURES = ("rank", "energy", "error", "time")
_BLOCK = re.compile(r"(\d+)x(\d+)")
_N_OF_M = re.compile(r"(\d+):(\d+)")
_FITS = {int: Integral, float: Real, bool: bool, str: str}
_KIND = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Quantize:
    """Numbers of few bits.

    Attributes:
        bits: Of a weight: 8, 4 or 2.
        scheme: ``weights`` alone; also activations, with ranges found by calibration (``static``)
            or at run time (``dynamic``), both with 8 bits and one scale a filter.
        group: How many inputs share a scale; 0: all.
        symmetric: Whether 0 is always the middle, so that there are no zero points.
        method: How weights are rounded: ``nearest``, ``hqq`` (fits the grid, needs no data),
            ``gptq`` (needs calibration data), ``awq`` (too: enlarges what large inputs meet, for
            the scheme ``weights``), ``auto``: ``gptq`` where there is data, else ``hqq``.
        range: How a static range follows from what calibration sees.
        smooth: How much of the outliers of what a static product reads its weight takes, 0 to 1.
        average: The mean bits of a weight, shared out by sensitivity: each layer gets 8, 4 or 2;
            0: ``bits`` for all.
        correct_bias: Whether what rounding adds to the mean of a result is taken off again; needs
            calibration data.
        equalize: Whether channels between two layers are scaled so that both lose alike.
    """

    bits: int = 8
    scheme: str = "weights"
    group: int = 0
    symmetric: bool = False
    method: str = "auto"
    range: str = "mse"
    smooth: float = 0.0
    average: float = 0.0
    correct_bias: bool = False
    equalize: bool = False

    def problems(self) -> list[str]:
        """What is wrong with the options, in words."""
        found = [
            *_bits("quantize", self.bits),
            *_choice("quantize.scheme", self.scheme, SCHEMES),
            *_choice("quantize.method", self.method, ROUNDINGS),
            *_choice("quantize.range", self.range, RANGES),
            *_group("quantize", self.group, "all inputs"),
            *_unless(0 <= self.smooth <= 1, f"quantize.smooth is {self.smooth}: expected 0 to 1"),
            *_unless(
                self.average == 0 or 2 <= self.average <= 8,
                f"quantize.average is {self.average}: expected 0 (all alike) or 2 to 8",
            ),
            *self._conflicts(),
        ]
        whole = self.bits == 8 and self.group == 0
        if self.scheme in ("static", "dynamic") and not whole:
            found.append(f"quantize.scheme {self.scheme!r} needs bits = 8 and group = 0")
        return found

    def text(self) -> str:
        """What is asked for, in short."""
        group = f" g{self.group}" if self.group else ""
        return f"quantize {self.scheme} int{self.bits}{group}"

    def _conflicts(self) -> list[str]:
        """Options that do nothing with the scheme."""
        weights = self.scheme == "weights"
        return [
            *_unless(
                self.smooth == 0 or self.scheme == "static",
                f"quantize.smooth needs the scheme 'static', not {self.scheme!r}",
            ),
            *_unless(
                weights or self.method != "awq",
                f"quantize.method 'awq' needs the scheme 'weights', not {self.scheme!r}",
            ),
            *_unless(
                weights or self.average == 0,
                f"quantize.average needs the scheme 'weights', not {self.scheme!r}",
            ),
            *_unless(
                self.average == 0 or self.bits == Quantize.bits,
                f"quantize.average chooses the bits of each layer, quantize.bits is {self.bits}: "
                "give one of the two",
            ),
        ]

    def needs_data(self) -> bool:
        """Whether this cannot be done without calibration data."""
        return self.scheme == "static" or self.method in ("gptq", "awq") or self.correct_bias


@dataclass(frozen=True)
class Sparsify:
    """Weights that are zero.

    Attributes:
        sparsity: The share of zeros, 0 to 1; ``N:M`` patterns say it themselves.
        pattern: ``unstructured``; ``N:M``, N of M weights along the inputs stay; ``RxC``, blocks of
            R outputs and C inputs.
        method: ``magnitude``, ``wanda`` or ``sparsegpt``; the last two need calibration data.
        scope: Whether each ``layer`` gets this sparsity or the ``model`` as a whole: by one
            threshold for all weights, or so that all layers together lose least (``sensitivity``,
            better with calibration data).
    """

    sparsity: float = 0.5
    pattern: str = "unstructured"
    method: str = "magnitude"
    scope: str = "layer"

    def problems(self) -> list[str]:
        """What is wrong with the options, in words."""
        known = self.pattern == "unstructured" or self.block != (1, 1) or self.n_of_m
        found = [
            *_unless(
                0 <= self.sparsity < 1,
                f"sparsify.sparsity is {self.sparsity}: expected at least 0 and less than 1"
                f"{_percent(self.sparsity)}",
            ),
            *_choice("sparsify.method", self.method, PRUNINGS),
            *_choice("sparsify.scope", self.scope, SCOPES),
            *_unless(
                bool(known),
                f"sparsify.pattern is {self.pattern!r}: expected 'unstructured', N:M or RxC",
            ),
        ]
        if self.scope == "model" and self.method != "magnitude":
            found.append("sparsify.scope 'model' needs the method 'magnitude'")
        if self.scope != "layer" and self.n_of_m:
            found.append(f"sparsify.scope {self.scope!r} has no say in an N:M pattern")
        if self.n_of_m and not 0 < self.n_of_m[0] < self.n_of_m[1]:
            found.append(f"sparsify.pattern {self.pattern!r} needs 0 < N < M")
        elif self.n_of_m and self.sparsity not in (Sparsify.sparsity, self._of_pattern()):
            found.append(
                f"sparsify.sparsity is {self.sparsity}, but the pattern {self.pattern!r} says "
                f"{self._of_pattern()}: leave it out"
            )
        if 0 in self.block:
            found.append(f"sparsify.pattern {self.pattern!r} is an empty block")
        return found

    def text(self) -> str:
        """What is asked for, in short."""
        share = "" if self.n_of_m else f" {self.sparsity:.0%}"
        return f"sparsify{share} {self.pattern}"

    def _of_pattern(self) -> float:
        stay, of = self.n_of_m or (1, 1)
        return 1 - stay / of

    @property
    def block(self) -> tuple[int, int]:
        """Outputs and inputs of a block; (1, 1) without blocks."""
        found = _BLOCK.fullmatch(self.pattern)
        return (int(found[1]), int(found[2])) if found else (1, 1)

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """How many stay of how many inputs, for patterns ``N:M``."""
        found = _N_OF_M.fullmatch(self.pattern)
        return (int(found[1]), int(found[2])) if found else None

    def needs_data(self) -> bool:
        """Whether this cannot be done without calibration data."""
        return self.method != "magnitude"


@dataclass(frozen=True)
class LowRank:
    """A product of small tensors in place of a weight.

    Attributes:
        ratio: What ``by`` says.
        method: ``svd`` of the weight; ``activation``, of what it does to calibration data;
            ``auto``: the latter where there is data.
        form: Two thin factors of the ``matrix``; for convolutions with a window ``tucker`` (few
            channels before and after it) or ``cp`` (a sum of products of vectors); for matrices a
            tensor ``train`` of two cores.
        by: Whether the ratio is that of the ``rank`` to the full one (for ``tucker`` of channels
            and of filters, for ``cp`` of the lesser of the two), the ``energy`` to keep (a share
            of squares), the ``error`` to allow, or the ``time`` to take.
    """

    ratio: float = 0.5
    method: str = "auto"
    form: str = "matrix"
    by: str = "rank"

    def problems(self) -> list[str]:
        """What is wrong with the options, in words."""
        return [
            *_unless(
                0 < self.ratio < 1,
                f"low_rank.ratio is {self.ratio}: expected more than 0 and less than 1"
                f"{_percent(self.ratio)}",
            ),
            *_choice("low_rank.method", self.method, FACTORIZATIONS),
            *_choice("low_rank.form", self.form, FORMS),
            *_choice("low_rank.by", self.by, MEASURES),
            *_unless(
                self.form == "matrix" or self.by in ("rank", "time"),
                f"low_rank.by {self.by!r} is for the form 'matrix', not {self.form!r}",
            ),
            *_unless(
                self.form == "matrix" or self.method != "activation",
                f"low_rank.method 'activation' is for the form 'matrix', not {self.form!r}",
            ),
        ]

    def text(self) -> str:
        """What is asked for, in short."""
        form = "" if self.form == "matrix" else f" {self.form}"
        return f"low rank{form} {self.ratio:.0%}{'' if self.by == 'rank' else ' ' + self.by}"

    def needs_data(self) -> bool:
        """Whether this cannot be done without calibration data."""
        return self.method == "activation"


@dataclass(frozen=True)
class Tables:
    """Numbers of few bits in tables whose rows are looked up, such as embeddings.

    Attributes:
        bits: Of a number: 8, 4 or 2.
        group: How many neighbours in a row share a scale; 0: the row.
    """

    bits: int = 8
    group: int = 0

    def problems(self) -> list[str]:
        """What is wrong with the options, in words."""
        return [*_bits("tables", self.bits), *_group("tables", self.group, "a row")]

    def text(self) -> str:
        """What is asked for, in short."""
        return f"tables int{self.bits}" + (f" g{self.group}" if self.group else "")

    def needs_data(self) -> bool:
        """Whether this cannot be done without calibration data."""
        return False


def wrong_types(options: Quantize | Sparsify | LowRank | Tables) -> list[str]:
    """Options that are no numbers where numbers are due, and the like; an integer is a float."""
    kind = _KIND.sub("_", type(options).__name__).lower()
    given = [(f.name, getattr(options, f.name), type(f.default)) for f in fields(options)]
    return [
        f"{kind}.{name} is {value!r}: expected {wanted.__name__}"
        for name, value, wanted in given
        if isinstance(value, bool) != (wanted is bool) or not isinstance(value, _FITS[wanted])
    ]


def _unless(fine: bool, problem: str) -> list[str]:
    return [] if fine else [problem]


def _bits(part: str, bits: int) -> list[str]:
    return _unless(bits in (2, 4, 8), f"{part}.bits is {bits}: expected 2, 4 or 8")


def _group(part: str, group: int, everything: str) -> list[str]:
    problem = f"{part}.group is {group}: expected 0 ({everything}) or 8 to 4096"
    return _unless(group == 0 or 8 <= group <= 4096, problem)


def _choice(name: str, value: str, known: tuple[str, ...]) -> list[str]:
    likely = did_you_mean(value, known)
    return _unless(value in known, f"{name} is {value!r}: expected {one_of(known)}{likely}")


def _percent(share: float) -> str:
    """What was meant by a share that must be a percentage."""
    return f"; {share:g} % is {share / 100:g}" if 1 < share < 100 else ""


def one_of(known: tuple[str, ...]) -> str:
    """``a, b or c``."""
    return ", ".join(known[:-1]) + f" or {known[-1]}"

"""What compression came to, as lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..passes.compress.report import LayerReport
from .table import clipped, count, engineering, table

_LINES, _REASONS = 40, 8
_LEGEND = (
    "dB: signal to noise of what was changed, and of the layer's result; "
    "predicted, measured: how many times as fast"
)


def text_of(found: Mapping[str, Any]) -> str:
    """A line for each layer, a summary, and the reasons for what was not done as asked."""
    layers = [LayerReport.of(values) for values in found["layers"]]
    shown = [layer for layer in layers if layer.steps][:_LINES]
    head = ["layer", "done", ">bytes", ">was", ">dB", ">result dB", ">predicted", ">measured"]
    lines = [table(*_filled(head, [_row(layer) for layer in shown])), _LEGEND]
    if len(layers) > len(shown):
        lines.append(f"… {len(layers)} layers in all, {sum(bool(e.steps) for e in layers)} changed")
    why = reasons(layers)
    more = [f"… {len(why) - _REASONS} more reasons: --report tells all"]
    lines += ["", *why[:_REASONS], *(more if len(why) > _REASONS else [])]
    return "\n".join([*lines, *summary(layers, found)])


def reasons(layers: Sequence[LayerReport]) -> list[str]:
    """Why layers were left as they are, each reason once."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        for why in (*(s.why for s in layer.steps), layer.restored):
            if why:
                found.setdefault(why, []).append(layer.layer)
    return [f"{_few(names)}: {why}" for why, names in found.items()]


def summary(layers: Sequence[LayerReport], found: Mapping[str, Any]) -> list[str]:
    """Sizes, times, and the metric, a line each."""
    metric = found.get("metric")
    lines = [f"weights of layers: {_change(*total(layers, 'bytes'), 'B')}"]
    for kind in ("predicted", "measured"):
        before, after = total(layers, kind)
        if before:
            lines.append(f"time of layers, {kind}: {_change(before, after, 's')}")
    lines += [*said_of_run(found.get("run")), *said_of_training(found.get("recovery", ()))]
    return lines + ([judgement(metric)] if metric else [])


def said_of_run(run: Mapping[str, Any] | None) -> list[str]:
    """The time of the model as a whole, in a line, where it was measured."""
    if not run:
        return []
    inputs = ", ".join(f"{name} {shape}" for name, shape in run["inputs"].items())
    told = f"a run on {count(run['threads'], 'thread')}, {inputs}"
    return [f"{told}: {_change(run['before'], run['after'], 's')}"]


def said_of_training(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """What training between compression and code came to, a line for each stage."""
    return [
        f"trained {count(stage['steps'], 'step')}: the difference to the float model "
        f"{stage['before']:.3g} became {stage['after']:.3g}"
        + (f"; {stage['shortfall']}" if stage["shortfall"] else "")
        for stage in stages
    ]


def judgement(metric: Mapping[str, Any]) -> str:
    """The metric before and after, and what the guard did."""
    text = f"{metric['metric']}: {metric['before']:.4f} became {metric['after']:.4f}"
    if not metric["restored"]:
        return text
    return (
        f"{text}; with all layers compressed {metric['without_guard']:.4f}; "
        f"{len(metric['restored'])} stay in floats (found in {metric['evaluations']} evaluations)"
    )


def total(layers: Sequence[LayerReport], kind: str) -> tuple[float, float]:
    """What all layers together were and are; of ``bytes``, ``predicted``, or ``measured``."""
    before, after = (
        sum(getattr(layer, f"{kind}_{when}") or 0 for layer in layers)
        for when in ("before", "after")
    )
    return before, after


def done(layer: LayerReport) -> str:
    """What was done, in one line."""
    if layer.restored:
        return "left in floats"
    return ", ".join(dict.fromkeys(step.done for step in layer.steps)) or "left as it is"


def ratio(before: float | None, after: float | None) -> str:
    """How many times as fast."""
    return f"{before / after:.2f}x" if before and after else ""


def decibels(value: float | None) -> str:
    """One digit behind the point, or nothing."""
    return "" if value is None else f"{value:.1f}"


def own_noise(layer: LayerReport) -> float | None:
    """The least signal to noise of the layer's steps."""
    return min((s.sqnr for s in layer.steps if s.sqnr is not None), default=None)


def _filled(head: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Without columns that are empty."""
    kept = [k for k in range(len(head)) if not rows or any(row[k] for row in rows)]
    return [head[k] for k in kept], [[row[k] for k in kept] for row in rows]


def _row(layer: LayerReport) -> list[str]:
    return [
        clipped(layer.layer, 40),
        clipped(done(layer), 48),
        engineering(layer.bytes_after, "B"),
        engineering(layer.bytes_before, "B"),
        "" if layer.restored else decibels(own_noise(layer)),
        decibels(layer.output_sqnr),
        ratio(layer.predicted_before, layer.predicted_after),
        ratio(layer.measured_before, layer.measured_after),
    ]


def _change(before: float, after: float, unit: str) -> str:
    share = f" ({after / before:.3f} of it)" if before else ""
    return f"{engineering(before, unit)} became {engineering(after, unit)}{share}"


def _few(names: Sequence[str]) -> str:
    return f"{names[0]} (+{len(names) - 1})" if len(names) > 3 else ", ".join(names)

"""The page of a compression: error, size and time of each layer, as pictures and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..passes.compress.report import LayerReport
from .bar_chart import Bar, Entry, bar_chart
from .compression_text import (
    decibels,
    done,
    judgement,
    own_noise,
    ratio,
    said_of_run,
    said_of_training,
    total,
)
from .html import document, facts_of, number, search, table_of
from .table import engineering

_HEAD = (
    "layer",
    "what was done",
    "bytes",
    "dB, own",
    "dB, result",
    "predicted",
    "measured",
    "times as fast",
)
_BEFORE, _AFTER, _WORSE, _FLOATS = "#8888", "var(--bar)", "#f59e0b", "#10b981"
_DECIBELS = (
    "Signal to noise: with 20 dB the error is a tenth of the value, with 40 dB a hundredth. "
    "Higher is better; a layer without a bar computes what the float model does."
)
_OWN = "dB, own: what the layer's own compression adds."
_RESULT = "dB, result: what the layer gives, with the errors of all layers before it."
# How much more is no accident of measuring.
_NOISE = 1.05
# Decibels below which little is left.
_LOUD = 10
_TYPICAL = "128 stands for each size that the model leaves open."


def compression_page(title: str, found: Mapping[str, Any], recipe: str) -> str:
    """The page's text; ``title`` names the model, ``recipe`` is the text of a file."""
    layers = [LayerReport.of(values) for values in found["layers"]]
    metric = found.get("metric")
    said = [judgement(metric)] if metric and metric["restored"] else []
    said += [*said_of_run(found.get("run")), *said_of_training(found.get("recovery", ()))]
    return document(
        f"{title}, compressed",
        f"{_facts(layers, found)}{''.join(f'<p>{escape(text)}.</p>' for text in said)}"
        f"{_pictures(layers)}<h2>Layers</h2>{search()}"
        f"{table_of(_HEAD, (_row(k, layer) for k, layer in enumerate(layers)))}"
        f"<p><small>{escape(_legend(layers))}</small></p>"
        f"<h2>Recipe</h2><pre>{escape(recipe)}</pre>",
    )


def _facts(layers: Sequence[LayerReport], found: Mapping[str, Any]) -> str:
    before, after = total(layers, "bytes")
    changed = sum(bool(layer.steps) and not layer.restored for layer in layers)
    facts = [
        (f"{changed} of {len(layers)}", "layers compressed"),
        (f"{engineering(before, 'B')} → {engineering(after, 'B')}", "weights of layers"),
    ]
    for kind in ("predicted", "measured"):
        old, new = total(layers, kind)
        if old and new:
            facts.append((ratio(old, new), f"as fast in layers, {kind}"))
    if run := found.get("run"):
        facts.append((ratio(run["before"], run["after"]), "as fast as a whole, measured"))
    if metric := found.get("metric"):
        facts.append((f"{metric['before']:.4f} → {metric['after']:.4f}", metric["metric"]))
    return facts_of(facts)


def _legend(layers: Sequence[LayerReport]) -> str:
    compared = any(layer.output_sqnr is not None for layer in layers)
    sizes = "" if any(layer.measured_before for layer in layers) else f" {_TYPICAL}"
    parts = [_DECIBELS, _OWN, *([_RESULT] if compared else [])]
    return f"{' '.join(parts)} Predicted is one thread, by the cost model.{sizes}"


def _pictures(layers: Sequence[LayerReport]) -> str:
    timed = "measured" if any(layer.measured_before for layer in layers) else "predicted"
    compared = any(layer.output_sqnr is not None for layer in layers)
    error = _output_noise if compared else own_noise
    what = "of what each layer gives" if compared else "of what was changed in each layer"
    floats = [(_FLOATS, "left in floats")] if any(layer.restored for layer in layers) else []
    sizes, times = _pairs(layers, "bytes"), _pairs(layers, timed)
    errors = [
        _entry(k, e, [Bar("signal to noise", value := error(e), _loud(value) or _color(e))])
        for k, e in enumerate(layers)
    ]
    return (
        f"<h2>Error {what}</h2><p><small>{escape(_DECIBELS)}</small></p>"
        f"{bar_chart(errors, 'dB', [(_AFTER, 'compressed'), *_noisy(errors), *floats])}"
        f"<h2>Size of the weights</h2>{bar_chart(sizes, 'B', _compared(sizes, 'larger', floats))}"
        f"<h2>Time of one run, {timed}</h2>"
        f"{bar_chart(times, 's', _compared(times, 'slower', floats))}"
    )


def _loud(decibels: float | None) -> str:
    """The color of a layer of which little is left."""
    return _WORSE if decibels is not None and decibels < _LOUD else ""


def _noisy(errors: Sequence[Entry]) -> list[tuple[str, str]]:
    some = any(bar.color == _WORSE for entry in errors for bar in entry.bars)
    return [(_WORSE, "a third of the value is error, or more")] if some else []


def _pairs(layers: Sequence[LayerReport], kind: str) -> list[Entry]:
    """What was and what is; it shows where that is more."""
    entries = []
    for k, layer in enumerate(layers):
        before, after = _pair(layer, kind)
        worse = before is not None and after is not None and after > _NOISE * before
        color = _WORSE if worse and not layer.restored else _color(layer)
        entries.append(_entry(k, layer, [Bar("before", before), Bar("after", after, color)]))
    return entries


def _compared(
    entries: Sequence[Entry], worse: str, floats: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The legend of pairs."""
    some = any(bar.color == _WORSE for entry in entries for bar in entry.bars)
    return [
        (_BEFORE, "before"),
        (_AFTER, "after"),
        *([(_WORSE, f"after, and {worse}")] if some else []),
        *floats,
    ]


def _entry(row: int, layer: LayerReport, bars: Sequence[Bar]) -> Entry:
    return Entry(layer.layer, f"#c{row}", bars)


def _color(layer: LayerReport) -> str:
    return _FLOATS if layer.restored else _AFTER


def _pair(layer: LayerReport, kind: str) -> tuple[float | None, float | None]:
    return getattr(layer, f"{kind}_before"), getattr(layer, f"{kind}_after")


def _output_noise(layer: LayerReport) -> float | None:
    return layer.output_sqnr


def _row(row: int, layer: LayerReport) -> str:
    asked = ", ".join(step.asked for step in layer.steps)
    why = dict.fromkeys([*(step.why for step in layer.steps), layer.restored])
    remarks = [*([f"asked: {asked}"] if asked else []), *filter(None, why)]
    small = "".join(f"<br><small>{escape(remark)}</small>" for remark in remarks)
    own = None if layer.restored else own_noise(layer)
    cells = [
        f"<td><code>{escape(layer.layer)}</code></td><td>{escape(done(layer))}{small}</td>",
        _change(layer, "bytes", "B"),
        number(own or 0, decibels(own)),
        number(layer.output_sqnr or 0, decibels(layer.output_sqnr)),
        _change(layer, "predicted", "s"),
        _change(layer, "measured", "s"),
        _speed(layer),
    ]
    return f'<tr id="c{row}">{"".join(cells)}</tr>'


def _change(layer: LayerReport, kind: str, unit: str) -> str:
    """Before and after, sorted by what is after."""
    values = [value for value in _pair(layer, kind) if value is not None]
    return number(values[-1] if values else 0, " → ".join(engineering(v, unit) for v in values))


def _speed(layer: LayerReport) -> str:
    before, after = _pair(layer, "measured")
    if not before or not after:
        before, after = _pair(layer, "predicted")
    return number(before / after if before and after else 0, ratio(before, after))
